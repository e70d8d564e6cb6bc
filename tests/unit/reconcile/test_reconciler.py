"""What a pass makes of errors: waiting, stalling, or a bug of ours; and that status is told once and only where it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clipmodel_operator.models.errors import DeniedError, GoneError, RejectedError, RetryError
from clipmodel_operator.models.event import Event
from clipmodel_operator.rendering.event import render_event
from support.builders import NOW, build_object, build_spec
from support.simulation import KEY, Simulation


def failing(what: str, error: Exception) -> Callable[[str], None]:
    def fail(write: str) -> None:
        if write.startswith(what):
            raise error

    return fail


@pytest.mark.parametrize(
    ("error", "ready", "reconciling", "again"),
    [
        (RejectedError("spec: no"), ("False", "ObjectRejected"), None, False),
        (DeniedError("a policy says no"), ("False", "ObjectRejected"), None, True),
        (RetryError("HTTP 500"), ("False", "ApiUnavailable"), ("True", "ProgressingWithRetry"), True),
        (GoneError("namespace is going"), ("False", "ApiUnavailable"), ("True", "ProgressingWithRetry"), True),
        (KeyError("innards"), ("False", "InternalError"), ("True", "ProgressingWithRetry"), True),
    ],
)
async def test_what_an_error_becomes(error: Exception, ready: Any, reconciling: Any, *, again: bool) -> None:
    simulation = Simulation()
    simulation.create()
    simulation.cluster.before_write = failing("apply PersistentVolumeClaim", error)
    simulation.deliver_all()
    await simulation.work()
    assert simulation.says("Ready") == ready
    assert simulation.says("Reconciling") == reconciling
    assert (simulation.condition("Stalled") is not None) == (reconciling is None)
    assert (simulation._timer is not None) == again, "tried again, unless only the spec can mend it"
    assert "innards" not in str(simulation.status)
    simulation.cluster.before_write = lambda _: None
    simulation.queue.add(KEY)
    await simulation.settle_waiting(seconds=60)
    simulation.assert_ready()


async def test_what_a_policy_refuses_is_made_when_the_policy_is_lifted() -> None:
    """Nobody tells the operator of it: no object of its own changes."""
    simulation = Simulation()
    simulation.create()
    simulation.cluster.before_write = failing("apply Deployment", DeniedError("a policy says no"))
    await simulation.settle_waiting(seconds=60)
    assert simulation.says("Stalled") == ("True", "ObjectRejected")
    message = simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert "a policy says no. Correct what it names, in the spec or in the cluster's own rules." in message
    simulation.cluster.before_write = lambda _: None
    await simulation.settle_waiting(seconds=600)
    simulation.assert_ready()


async def test_retry_after_is_the_delay() -> None:
    simulation = Simulation()
    simulation.create()
    simulation.cluster.before_write = failing("apply PersistentVolumeClaim", RetryError("slow down", retry_after_s=17))
    simulation.deliver_all()
    await simulation.work()
    assert simulation._timer == 17


@pytest.mark.parametrize(
    "error", [RejectedError("status.versions: too long"), RetryError("HTTP 500"), GoneError("it went")]
)
async def test_a_status_that_is_refused_does_not_end_the_operator(error: Exception) -> None:
    simulation = Simulation()
    simulation.create()
    simulation.cluster.before_write = failing("apply ClipModel", error)
    simulation.deliver_all()
    await simulation.work()
    assert simulation.cluster.find("Job"), "the pass itself went on"
    simulation.cluster.before_write = lambda _: None
    simulation.queue.add(KEY)
    await simulation.settle()
    simulation.assert_ready()


async def test_an_event_that_is_refused_does_not_end_the_operator() -> None:
    simulation = Simulation()
    simulation.create()
    simulation.cluster.before_write = failing("create Event", RejectedError("no"))
    await simulation.settle_waiting(seconds=300)
    simulation.cluster.before_write = lambda _: None
    simulation.queue.add(KEY)
    await simulation.settle()
    simulation.assert_ready()


async def test_what_is_being_deleted_is_left_alone() -> None:
    simulation = Simulation()
    simulation.cluster.add(
        {
            **build_object(build_spec()),
            "metadata": {**build_object()["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z"},
        }
    )
    await simulation.settle()
    assert simulation.cluster.writes == []


async def test_a_successor_of_the_same_name_does_not_get_the_status_of_the_one_before() -> None:
    simulation = Simulation()
    simulation.create()
    simulation.deliver_all()
    simulation.cluster.remove(simulation.clip)
    simulation.create()
    await simulation.work()  # no event has come yet: the cache still has the one before
    assert simulation.cluster.find("Job"), "the pass went on until there was a status to write"
    assert simulation.status == {"observedGeneration": -1}
    await simulation.settle_waiting(seconds=60)
    simulation.assert_ready()


async def test_an_edit_during_a_pass_does_not_cost_its_status() -> None:
    """Status names the state of the object that it was read at; an edit that has been heard of moves it on."""
    simulation = Simulation()
    simulation.create()
    simulation.deliver_all()

    def edit(what: str) -> None:
        if what.startswith("create Job"):
            simulation.cluster.edit(simulation.clip, lambda o: o["metadata"].update(annotations={"a": "b"}))
            simulation.deliver_all()

    simulation.cluster.before_write = edit
    await simulation.work()
    assert simulation.says("Ready") == ("Unknown", "SyncPending")


def test_the_same_event_has_the_same_name() -> None:
    told = Event(is_warning=True, reason="DigestMismatch", message="m")
    one, again = (render_event(build_object(), told, now=NOW) for _ in range(2))
    assert one == again
    assert one["type"] == "Warning"
    assert one["involvedObject"]["uid"] == build_object()["metadata"]["uid"]
    assert len(one["metadata"]["name"]) <= 253
    changed = build_object()
    changed["metadata"]["resourceVersion"] = "2"
    assert render_event(changed, told, now=NOW)["metadata"]["name"] != one["metadata"]["name"]
