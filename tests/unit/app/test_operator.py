"""Cache, queue and reconciler joined: what an event starts, how often a key is worked on, and what comes after it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, cast

import pytest

from clipmodel_operator.app.operator import Operator
from clipmodel_operator.app.run import _tune_collector
from clipmodel_operator.assessment.requeue import PassOutcome
from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models.errors import RetryError, StalledError
from clipmodel_operator.models.names import LABEL_MODEL, Key
from clipmodel_operator.models.ownership import owner_of
from clipmodel_operator.models.resources import CLIP_MODELS, CONFIG_MAPS, PODS
from clipmodel_operator.reconcile.reconciler import Reconciler
from clipmodel_operator.runtime.backoff import Backoff
from clipmodel_operator.runtime.cache import ObjectCache
from clipmodel_operator.runtime.queue import WorkQueue
from clipmodel_operator.runtime.steps import StepRunner
from support.builders import build_object, build_server_pod
from support.fake_api_server import FakeApiServer
from support.fake_clock import FakeClock

KEY = Key("demo", "clip")
DONE, CHANGED, FAILED = PassOutcome(), PassOutcome(has_changed=True), PassOutcome((RetryError("HTTP 500"),))


class FakeReconciler:
    """Gives the answers that it is told to, and remembers its keys."""

    def __init__(self, *answers: PassOutcome) -> None:
        self.answers = list(answers)
        self.keys: list[Key] = []

    def has_told(self, _obj: Any) -> bool:
        return False

    async def reconcile(self, key: Key) -> PassOutcome:
        self.keys.append(key)
        await asyncio.sleep(0)
        return self.answers.pop(0) if self.answers else DONE


def build(*answers: PassOutcome) -> tuple[Operator, FakeReconciler]:
    reconciler = FakeReconciler(*answers)
    backoff = Backoff(base_s=0.001, jitter=lambda: 1.0)
    operator = Operator(
        cache=ObjectCache(owner_of),
        queue=WorkQueue(),
        reconciler=cast("Reconciler", reconciler),
        steps=StepRunner(),
        backoff=backoff,
    )
    return operator, reconciler


async def work_off(operator: Operator) -> None:
    task = asyncio.create_task(operator.work())
    while not operator.queue.is_idle and not task.done():  # noqa: ASYNC110 - turns of the loop, not time
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_object_that_lost_the_label_of_its_owner_still_wakes_it() -> None:
    operator, reconciler = build()
    pod = build_server_pod()
    operator.observe(PODS, pod, deleted=False)
    await work_off(operator)
    labels = {k: v for k, v in pod["metadata"]["labels"].items() if k != LABEL_MODEL}
    operator.observe(PODS, {**pod, "metadata": {**pod["metadata"], "labels": labels}}, deleted=False)
    await work_off(operator)
    assert reconciler.keys == [KEY, KEY]


async def test_a_burst_of_events_is_one_pass() -> None:
    operator, reconciler = build()
    for _ in range(100):
        operator.observe(CLIP_MODELS, build_object(), deleted=False)
        operator.observe(PODS, build_server_pod(), deleted=False)
    await work_off(operator)
    assert reconciler.keys == [KEY]


async def test_managed_fields_are_not_kept() -> None:
    operator, _ = build()
    obj = build_object()
    obj["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    operator.observe(CLIP_MODELS, obj, deleted=False)
    assert "managedFields" not in cast("Any", operator.cache.get("ClipModel", "demo", "clip"))["metadata"]
    assert "managedFields" in obj["metadata"], "the event's object is not ours to change"


async def test_nobodys_objects_start_nothing() -> None:
    operator, reconciler = build()
    operator.observe(CONFIG_MAPS, {"metadata": {"namespace": "demo", "name": "x"}}, deleted=False)
    assert operator.queue.is_idle
    assert reconciler.keys == []


async def test_a_deleted_child_starts_a_pass() -> None:
    operator, reconciler = build()
    operator.observe(PODS, build_server_pod(), deleted=True)
    await work_off(operator)
    assert reconciler.keys == [KEY]


async def test_a_pass_that_asks_for_another_gets_it() -> None:
    operator, reconciler = build(CHANGED, FAILED, FAILED, DONE)
    operator.queue.add(KEY)
    await work_off(operator)
    assert reconciler.keys == [KEY] * 4


async def test_backoff_grows_and_a_success_ends_it() -> None:
    operator, _ = build(FAILED, FAILED, FAILED, DONE)
    operator.queue.add(KEY)
    await work_off(operator)
    assert operator._backoff.next_delay_s(KEY) == 0.001


@pytest.mark.parametrize("error", [RetryError("HTTP 500"), StalledError("ObjectRejected", "denied", look_again=True)])
async def test_a_burst_of_events_is_no_reason_to_wait_for_minutes(error: Exception) -> None:
    """Each event asks for a pass, and each pass fails: they are one failure, and the next try is due after a second."""
    operator, reconciler = build(*[PassOutcome((error,))] * 10)
    operator._backoff = Backoff(jitter=lambda: 1.0)
    task = asyncio.create_task(operator.work())
    for count in range(1, 11):
        operator.queue.add(KEY)
        while len(reconciler.keys) < count:  # noqa: ASYNC110 - turns of the loop, not time
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    due = operator.queue._timers[KEY].when() - asyncio.get_running_loop().time()
    task.cancel()
    assert due <= 1.0


async def test_no_event_comes_before_a_retry_after() -> None:
    operator, reconciler = build(PassOutcome((RetryError("429", retry_after_s=30.0),)))
    task = asyncio.create_task(operator.work())
    for _ in range(5):
        operator.queue.add(KEY)
        for _ in range(5):
            await asyncio.sleep(0)
    task.cancel()
    assert reconciler.keys == [KEY]
    assert operator.queue._timers[KEY].when() - asyncio.get_running_loop().time() > 29


async def test_a_pass_that_breaks_is_tried_again_and_ends_nothing() -> None:
    operator, reconciler = build(DONE)
    whole, broken = reconciler.reconcile, [TypeError("a bug")]

    async def reconcile(key: Key) -> PassOutcome:
        if broken:
            raise broken.pop()
        return await whole(key)

    reconciler.reconcile = reconcile  # type: ignore[method-assign]  # the first pass ends in a bug
    operator.queue.add(KEY)
    await work_off(operator)
    assert reconciler.keys == [KEY]
    assert operator.queue.is_idle


def test_garbage_is_looked_for_less_often_and_not_in_what_was_there_from_the_start() -> None:
    before = gc.get_threshold()
    try:
        _tune_collector()
        assert gc.get_freeze_count() > 10_000, "modules and all that they made"
        assert gc.get_threshold()[0] >= 10 * 700
        assert gc.isenabled(), "cycles are still found"
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


async def test_the_sweep_finds_what_no_event_told() -> None:
    operator, _ = build()
    cluster = FakeApiServer(FakeClock())
    cluster.add(build_object())
    await operator.list_all(cast("Cluster", cluster), ())
    assert operator.cache.get("ClipModel", "demo", "clip") is not None
    assert len(operator.queue) == 1
    clip = cluster.find("ClipModel")
    assert clip is not None
    cluster.remove(clip)
    await operator.queue.get()
    operator.queue.done(KEY)
    await operator.list_all(cast("Cluster", cluster), ("demo",))
    assert operator.cache.get("ClipModel", "demo", "clip") is None
    assert len(operator.queue) == 1, "its key is looked at once more"
