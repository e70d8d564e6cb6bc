"""The life of a ClipModel, from applied to gone, with the real reconciler over a cluster in memory."""

from __future__ import annotations

from support.simulation import Simulation


async def test_a_clip_model_that_is_applied_becomes_ready() -> None:
    simulation = Simulation()
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()
    print("\n".join(simulation.log))
    await simulation.assert_converged()
