"""What is remembered of a ClipModel goes with it, however its end is heard of."""

from __future__ import annotations

import pytest

from clipmodel_operator.models.names import Key
from clipmodel_operator.models.resources import CLIP_MODELS
from clipmodel_operator.reconcile.memory import Memory
from support.builders import NOW
from support.simulation import KEY, Simulation, build_ready


def test_a_successor_of_the_name_starts_with_nothing() -> None:
    forgotten: list[str] = []
    memory = Memory(forget_uid=forgotten.append)
    first = memory.of(KEY, "first")
    first.refused_since = NOW
    assert memory.of(KEY, "first") is first
    assert memory.of(KEY, "second").refused_since is None
    assert forgotten == ["first"], "what else is kept of the first one goes with it"
    assert memory.of(Key("demo", "other"), "third").refused_since is None
    assert len(memory) == 2


def test_what_was_told_is_told_to_one_uid() -> None:
    memory = Memory(forget_uid=lambda _: None)
    assert memory.told(KEY, "uid") is None
    assert len(memory) == 0, "a question makes no memory"
    memory.of(KEY, "uid").told = {"replicas": 1}
    assert memory.told(KEY, "uid") == {"replicas": 1}
    assert memory.told(KEY, "a successor") is None
    assert memory.told(Key("demo", "other"), "uid") is None
    assert memory.told(KEY, "uid") == {"replicas": 1}, "a question about a successor forgets nothing"
    memory.forget(KEY)
    assert memory.told(KEY, "uid") is None


def test_a_successor_was_told_nothing() -> None:
    memory = Memory(forget_uid=lambda _: None)
    memory.of(KEY, "first").told = {"replicas": 1}
    assert memory.of(KEY, "second").told is None
    assert memory.told(KEY, "second") is None


def remembered(simulation: Simulation) -> list[int]:
    return [
        len(simulation.reconciler.memory),
        len(simulation.reconciler._fleet._pods),
        len(simulation.operator._backoff._failures),
        len(simulation.operator.steps._taken),
    ]


@pytest.mark.parametrize("how", ["background", "foreground"])
async def test_nothing_is_left_of_a_deleted_one(how: str) -> None:
    """Twenty are made and deleted. At a background deletion there is no pass that sees a deletionTimestamp: the object is just gone."""
    simulation = await build_ready()
    for _ in range(20):
        if how == "foreground":
            simulation.cluster.edit(
                simulation.clip, lambda o: o["metadata"].update(deletionTimestamp="2026-11-22T12:00:00Z")
            )
            await simulation.settle()
        simulation.cluster.remove(simulation.clip)
        await simulation.settle()
        simulation.create()
        await simulation.settle()
        simulation.assert_ready()
        assert remembered(simulation) == [1, 1, 0, 0]
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.operator.cache.get(CLIP_MODELS.kind, *KEY) is None
    assert remembered(simulation) == [0, 0, 0, 0]
