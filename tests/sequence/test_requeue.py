"""When a pass comes again in the whole of the operator: its own writes are no news, and no event makes a hot loop of a failure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clipmodel_operator.models.errors import DeniedError, RetryError
from clipmodel_operator.models.resources import Resource
from support.builders import build_spec
from support.simulation import KEY, Simulation, build_ready

EDIT = build_spec(serving={"nodeSelector": {"a": "b"}})


def fail(simulation: Simulation, what: str, error: Callable[[int], Exception]) -> list[float]:
    """Let every write that contains `what` fail; give the times of the attempts."""
    times: list[float] = []

    def before_write(written: str) -> None:
        if what in written:
            times.append(simulation.clock.seconds)
            raise error(len(times))

    simulation.cluster.before_write = before_write
    return times


async def test_nothing_comes_before_a_retry_after() -> None:
    """The status that tells of it is an event, too."""
    simulation = await build_ready()
    times = fail(simulation, "apply Deployment", lambda _: RetryError("HTTP 429: wait", retry_after_s=37.0))
    simulation.update(EDIT)
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 60)
    assert len(times) >= 2
    assert times[1] - times[0] >= 37


@pytest.mark.parametrize("kind", [RetryError, DeniedError])
async def test_words_that_differ_each_time_are_no_hot_loop(kind: type[Exception]) -> None:
    """A network error holds a port, a webhook's refusal a request's id: status differs each time, and is written each time."""
    simulation = await build_ready()
    times = fail(simulation, "apply Deployment", lambda n: kind(f"webhook: read tcp 10.0.0.1:{40000 + n}: reset"))
    simulation.update(EDIT)
    await simulation.settle()
    assert len(times) < 5, f"{len(times)} attempts in {simulation.clock.seconds} s"
    assert simulation._timer is not None, "it is tried again"


async def test_a_status_that_somebody_else_wrote_is_news() -> None:
    simulation = await build_ready()
    before = simulation.status

    def meddle(status: dict[str, Any]) -> None:
        simulation.cluster.edit(simulation.clip, lambda o: o.update(status=copy.deepcopy(status)))

    for meddled in ({}, {**before, "servingVersions": [7]}):
        meddle(meddled)
        await simulation.settle()
        assert simulation.status == before


async def test_the_operators_own_status_is_no_news() -> None:
    simulation = await build_ready()
    simulation.update(build_spec(verification={"tolerance": "0.999"}))
    simulation.deliver_all()
    while len(simulation.queue):
        await simulation.work()
        events = [o for _, o in simulation.cluster.undelivered["ClipModel"]]
        passes = simulation.passes
    assert events, "it wrote a status"
    for _ in events:
        simulation.deliver("ClipModel")
    assert len(simulation.queue) == 0
    assert simulation.passes == passes


async def test_a_silent_pod_is_asked_again_while_a_rule_denies_an_object() -> None:
    simulation = await build_ready()
    fail(
        simulation,
        "apply PersistentVolumeClaim",
        lambda _: DeniedError("only dynamically provisioned pvc can be resized"),
    )
    simulation.update(build_spec(storage={"size": "9Gi"}))
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 600)  # the rule stands for a while
    simulation.triton.answers = False
    await simulation.restart_operator()
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 120)
    simulation.triton.answers = True
    healed = simulation.clock.seconds
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 10)
    assert simulation.status["servingVersions"] == [1], f"{simulation.clock.seconds - healed} s after it answers again"


async def test_observed_generation_is_of_the_spec_that_the_status_is_of() -> None:
    """An edit is heard of while a pass writes; what the pass then says is of the spec that it began with."""
    simulation = await build_ready()
    edited = build_spec(batching={"maxQueueDelay": "20ms"})
    told: list[tuple[int, bool]] = []
    apply_status = simulation.cluster.apply_status

    async def watched(resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        status = manifest["status"]
        told.append((status["observedGeneration"], any(c["type"] == "Paused" for c in status["conditions"])))
        return await apply_status(resource, namespace, manifest)

    def edit_meanwhile(what: str) -> None:
        if what == "apply ConfigMap clip-rollout" and not told:
            simulation.update(edited | {"paused": True})
            simulation.deliver("ClipModel")

    simulation.cluster.apply_status = watched  # type: ignore[method-assign]
    simulation.update(edited)
    simulation.deliver_all()
    simulation.cluster.before_write = edit_meanwhile
    loads = [w for w in simulation.cluster.writes if w.startswith("load")]
    await simulation.work()
    generation = simulation.clip["metadata"]["generation"]
    assert told == [(generation - 1, False)], "of the spec that it began with"
    await simulation.let_run()
    assert [w for w in simulation.cluster.writes if w.startswith("load")] == loads, (
        "what was planned by it is not begun"
    )
    await simulation.settle()
    assert told[1:]
    assert set(told[1:]) == {(generation, True)}


async def test_a_bug_in_the_status_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from clipmodel_operator.planning import status

    simulation = await build_ready()

    def has_a_bug(*_: object) -> bool:
        raise KeyError("innards")

    monkeypatch.setattr(status, "is_rolling", has_a_bug)
    simulation.queue.add(KEY)
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "InternalError")
    monkeypatch.undo()
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 60)
    simulation.assert_ready()
