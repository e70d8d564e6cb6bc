"""The commit is lost while a version of another space waits in the spec: what the servers run, and what status says, still guard the space."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from clipmodel_operator.planning import objects, versions
from support.builders import ONE, OTHER, build_spec
from support.simulation import Simulation, build_ready


def _delete(simulation: Simulation) -> None:
    simulation.cluster.remove(simulation.cluster.get("ConfigMap"))


def _forge(simulation: Simulation) -> None:
    simulation.cluster.edit(
        simulation.cluster.get("ConfigMap"), lambda o: o["data"].update({"versions.json": '{"versions": {}}'})
    )


def _delete_with_jobs(simulation: Simulation) -> None:
    """The volume must be read again, and tells of the highest version first."""
    for job in simulation.cluster.all("Job"):
        simulation.cluster.remove(job)
    _delete(simulation)


@pytest.mark.parametrize("lose", [_delete, _forge, _delete_with_jobs])
@pytest.mark.parametrize("is_wiped", [False, True], ids=["status is there", "status is wiped"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_lost_commit_opens_no_way_into_another_space(
    lose: Callable[[Simulation], None], *, is_wiped: bool, seed: int
) -> None:
    simulation = Simulation()
    simulation.create(build_spec(ONE, serving={"replicas": 2}))
    await simulation.settle()
    simulation.update(build_spec(ONE, OTHER, serving={"replicas": 2}))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "EmbeddingSpaceMismatch")
    committed = simulation.cluster.get("ConfigMap")["data"]
    lose(simulation)
    if is_wiped:
        simulation.cluster.edit(simulation.clip, lambda o: o.pop("status"))
    # The versions are read again in any order.
    await simulation.settle_at_random(random.Random(seed))  # noqa: S311 - played again by its seed
    assert simulation.says("Stalled") == ("True", "EmbeddingSpaceMismatch")
    assert simulation.status["servingVersions"] == [1]
    assert simulation.cluster.get("ConfigMap")["data"] == committed
    assert not [w for w in simulation.cluster.writes if w.startswith("load ") and " [3]" in w]


async def test_a_pass_plans_once_also_where_the_commit_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pods say is known before anything is decided: no plan is made to be thrown away."""
    simulation = await build_ready()
    planned, plan = list[int](), versions.plan_versions

    def count(*args: Any, **kwargs: Any) -> Any:
        planned.append(simulation.passes)
        return plan(*args, **kwargs)

    monkeypatch.setattr(objects, "plan_versions", count)
    _delete(simulation)
    await simulation.settle()
    simulation.assert_ready()
    assert planned
    assert len(planned) == len(set(planned)), "a pass planned twice"


async def test_a_lost_commit_is_found_again_although_a_pod_is_starting() -> None:
    """Nothing is committed and nothing can be the target yet, and a pod that runs and is not ready has loaded something."""
    simulation = await build_ready()
    for job in simulation.cluster.all("Job"):
        simulation.cluster.remove(job)  # its report goes with it
    await simulation.settle()
    _forge(simulation)
    simulation.kubelet.restart(simulation.pods()[0])
    starts = [act for name, act in simulation.controllers.steps() if "starts" in name]
    assert starts
    starts[0]()  # before the operator hears of anything
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 1200)
    simulation.assert_ready(1)
