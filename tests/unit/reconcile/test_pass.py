"""One pass, step by step: what is looked at once, in which order things are done, what is told in the middle, and when the next pass is due."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1 import clipmodel
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.models.errors import RejectedError, RetryError
from clipmodel_operator.models.resources import JOBS, Resource
from clipmodel_operator.reconcile import reconciler
from clipmodel_operator.reconcile.fleet import FIRST_WAIT_S
from support.builders import ONE, OTHER, TWO, Object, build_spec
from support.simulation import KEY, Simulation, build_ready

FASTER: Object = {"batching": {"maxQueueDelay": "50ms"}}
PINNED: Object = {"versionPolicy": {"specific": {"versions": [1]}}}


async def make_pass(simulation: Simulation) -> list[str]:
    """Let the operator hear of everything and make one pass; give what it wrote. Nothing of that has been heard of yet."""
    simulation.deliver_all()
    simulation.queue.add(KEY)
    before = len(simulation.cluster.writes)
    await simulation.work()
    return simulation.cluster.writes[before:]


def delay_s(simulation: Simulation) -> float | None:
    """Give the seconds until the pass that the last one asked for."""
    return None if simulation._timer is None else simulation._timer - simulation.clock.seconds


def count_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[str]:
    """Have calls of a function noted; it does what it did."""
    calls, called = list[str](), getattr(module, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return called(*args, **kwargs)

    monkeypatch.setattr(module, name, noted)
    return calls


# What is looked at once.


async def test_a_pass_reads_status_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has up to 64 versions, and pydantic is the slowest part of a pass that finds nothing to do."""
    simulation = await build_ready()
    calls = count_calls(monkeypatch, ClipModelStatus, "model_validate")
    assert await make_pass(simulation) == []
    assert len(calls) == 1
    assert clipmodel.parse_status(simulation.clip).serving_versions == [1]
    assert len(calls) == 2, "whoever reads a status is noted"


async def test_a_pass_looks_at_the_versions_once(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = await build_ready()
    calls = count_calls(monkeypatch, reconciler, "assess_versions")
    assert await make_pass(simulation) == []
    assert len(calls) == 1


# In which order.


async def with_a_job_of_another_source() -> Simulation:
    """Give one whose Job is at work on a source that the spec has no longer."""
    simulation = Simulation()
    simulation.create()
    await make_pass(simulation)
    simulation.update(build_spec(TWO))
    return simulation


async def test_what_is_needed_is_made_before_what_is_not_needed_goes() -> None:
    simulation = await with_a_job_of_another_source()
    (old,) = (j["metadata"]["name"] for j in simulation.cluster.all(JOBS.kind))
    jobs = [w for w in await make_pass(simulation) if " Job " in w]
    (new,) = (j["metadata"]["name"] for j in simulation.cluster.all(JOBS.kind))
    assert jobs == [f"create Job {new}", f"delete Job {old}"]


async def test_while_the_api_server_refuses_what_is_needed_nothing_goes() -> None:
    simulation = await with_a_job_of_another_source()
    before = simulation.cluster.all(JOBS.kind)

    def refuse(what: str) -> None:
        if what.startswith("create Job"):
            raise RejectedError("a quota says no")

    simulation.cluster.before_write = refuse
    await make_pass(simulation)
    assert simulation.says("Stalled") == ("True", "ObjectRejected")
    assert simulation.cluster.all(JOBS.kind) == before


# When the next pass is due.


async def test_a_job_that_went_unheard_of_is_made_anew_at_once() -> None:
    """Its deletion was the only event that there was: nothing more would come before the sweep."""
    simulation = Simulation()
    simulation.kubelet.loses_reports = True
    simulation.create()
    await make_pass(simulation)
    while following := simulation.controllers.steps():
        simulation._step(following[0])
    (job,) = simulation.cluster.all(JOBS.kind)
    assert [c["type"] for c in job["status"]["conditions"]] == ["Complete"]
    simulation.deliver_all()
    simulation.cluster.remove(job)
    simulation.cluster.undelivered.clear()
    simulation.kubelet.loses_reports = False
    writes = await make_pass(simulation)
    assert not [w for w in writes if " Job " in w], "it is gone already, and the cache did not know it"
    assert delay_s(simulation) == 0
    simulation.cluster.undelivered.clear()
    await simulation.settle()
    simulation.assert_ready()


@pytest.mark.parametrize("is_refused", [False, True], ids=["Triton loads it", "Triton refuses it"])
async def test_when_a_step_has_ended_the_next_pass_comes_at_once(*, is_refused: bool) -> None:
    """What servers run has changed, or has been refused, and no event tells that."""
    simulation = await build_ready()
    simulation.triton.refuses = lambda _model, _config: is_refused
    simulation.update(build_spec(**FASTER))
    await make_pass(simulation)
    simulation.cluster.undelivered.clear()
    assert len(simulation.queue) == 0
    await simulation.let_run()
    assert "load clip__candidate [1]" in " ".join(simulation.cluster.writes)
    assert len(simulation.queue) == 1
    await simulation.settle()
    if is_refused:
        assert simulation.says("Ready") == ("False", "ServerRejected")
    else:
        simulation.assert_ready()


async def test_what_failed_is_tried_again_when_its_time_has_come() -> None:
    """That it has come is no event."""
    simulation = await build_ready()
    simulation.triton.refuses = lambda _model, _config: True
    simulation.update(build_spec(**FASTER))
    await simulation.settle()
    simulation.triton.refuses = lambda _model, _config: False
    await simulation.settle_waiting(seconds=59)
    assert await make_pass(simulation) == [], "no event cancels it"
    assert delay_s(simulation) == 60 - simulation.clock.seconds
    await simulation.settle_waiting(seconds=60)
    simulation.assert_ready()


@pytest.mark.parametrize("how", ["does not answer", "answers wrongly"])
async def test_a_pod_that_starts_and_has_not_proven_itself_is_asked_again_soon(how: str) -> None:
    """That it answers by now is no event."""
    simulation = Simulation()
    simulation.triton.answers, simulation.triton.serves_wrong = how != "does not answer", how == "answers wrongly"
    simulation.create()
    await simulation.settle()
    assert delay_s(simulation) == FIRST_WAIT_S
    assert await make_pass(simulation) == [], "it is at rest, and goes on asking"
    assert delay_s(simulation) == FIRST_WAIT_S
    simulation.triton.answers, simulation.triton.serves_wrong = True, False
    await simulation.settle_waiting(seconds=FIRST_WAIT_S)
    simulation.assert_ready()
    assert delay_s(simulation) is None, "once proven, it is left alone"


async def test_a_ready_pod_that_answers_wrongly_is_asked_again_soon() -> None:
    """To load what is committed anew has failed, and is not tried again; the pod may heal, and nothing would tell."""
    simulation = await build_ready()
    simulation.triton.serves_wrong = True
    await simulation.restart_operator()
    await simulation.settle()
    assert delay_s(simulation) == FIRST_WAIT_S
    assert simulation.says("Stalled") == ("True", "GoldenCheckFailed")
    simulation.triton.serves_wrong = False
    await simulation.settle_waiting(seconds=simulation.clock.seconds + FIRST_WAIT_S)
    simulation.assert_ready()
    assert delay_s(simulation) is None


# What is written and told before a step begins.


def loads(simulation: Simulation) -> list[str]:
    return [w.rpartition(" on ")[0] for w in simulation.cluster.writes if w.startswith("load ")]


async def test_an_attempt_is_written_and_told_before_its_first_load() -> None:
    simulation = await build_ready()
    simulation.update(build_spec(**FASTER))
    assert await make_pass(simulation) == ["apply ConfigMap clip-rollout", "apply ClipModel clip status"]
    assert loads(simulation) == []
    assert simulation.says("Reconciling") == ("True", "Progressing")
    assert simulation.status["rollout"]["phase"] == "Proving"
    await simulation.let_run()
    assert loads(simulation) == ["load clip__candidate [1]"]


@pytest.mark.parametrize("what", ["apply ConfigMap clip-rollout", "apply ClipModel"])
@pytest.mark.parametrize("error", [RetryError("HTTP 500"), RejectedError("no")])
async def test_what_could_not_be_written_or_told_is_not_begun(what: str, error: Exception) -> None:
    """An operator that starts anew would not know of it."""
    simulation = await build_ready()

    def fail(written: str) -> None:
        if written.startswith(what):
            raise error

    simulation.cluster.before_write = fail
    simulation.update(build_spec(**FASTER))
    await make_pass(simulation)
    await simulation.let_run()
    assert loads(simulation) == []
    simulation.cluster.before_write = lambda _: None
    simulation.queue.add(KEY)
    await simulation.settle()
    simulation.assert_ready()


async def test_each_pass_tells_once_and_each_change_once() -> None:
    """Version 2 has come, and Triton does not answer while it loads it."""
    simulation = await build_ready()
    simulation.update(build_spec(ONE, TWO))
    await make_pass(simulation)
    while following := [s for s in simulation.controllers.steps() if "the pod runs" in s[0] or "makes a pod" in s[0]]:
        simulation._step(following[0])

    def break_load(what: str) -> None:
        if what.startswith("load"):
            simulation.clock.seconds += 40
            raise RetryError("Triton does not answer")

    simulation.cluster.before_write = break_load
    before, stamp = simulation.events(), simulation.clock.stamp()
    writes = await make_pass(simulation)
    assert len([w for w in writes if "status" in w]) == 1
    assert simulation.events()[len(before) :] == ["VersionSynced"]
    await simulation.settle()
    assert simulation.events()[len(before) :] == ["VersionSynced", "ServerSilent"]
    synced, ready = simulation.condition("Synced"), simulation.condition("Ready")
    assert synced is not None
    assert ready is not None
    assert synced["lastTransitionTime"] == stamp, "it became so before the load"
    assert ready["lastTransitionTime"] == simulation.clock.stamp() != stamp, "it became so by the load"
    assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")


#: How a try fails -> what comes of it.
FAILURES = {
    "the proof is lost": "ServerSilent",
    "the proof is refused": "ServerRejected",
    "the proof differs": "GoldenCheckFailed",
    "the load under the real name is lost": "RollingOut",
    "the load under the real name is refused": "ServerRejected",
}


@pytest.mark.parametrize("name", FAILURES)
async def test_while_a_pod_is_asked_whether_it_still_serves_nobody_says_that_it_does_not(name: str) -> None:
    """It is asked after each try that failed. What is told of the failure waits for the answer."""
    simulation = await build_ready()
    where = "load clip" if "real name" in name else "load clip__candidate"

    def lose(what: str) -> None:
        if what == where and name.endswith("lost"):
            raise RetryError("Triton does not answer")

    simulation.cluster.before_write = lose
    simulation.triton.refuses = lambda model, _config: f"load {model}" == where and name.endswith("refused")
    if name.endswith("differs"):
        simulation.triton.serves_wrong = True
    simulation.update(build_spec(**FASTER))
    told = list[tuple[Any, ...]]()

    def look() -> None:
        told.append((simulation.says("Available"), simulation.status["servingVersions"]))
        if simulation.triton.asked > asked:
            simulation.triton.serves_wrong = False  # under the candidate's name alone

    asked = simulation.triton.asked
    await simulation.settle(look=look)
    assert set(map(str, told)) == {"(('True', 'PodsReady'), [1])"}
    assert simulation.condition("Ready")["reason"] == FAILURES[name]  # type: ignore[index]  # it is there


async def test_of_a_pod_that_stays_silent_it_is_said() -> None:
    simulation = await build_ready()

    def die(what: str) -> None:
        if what.startswith("load"):
            simulation.triton.answers = False
            raise RetryError("Triton does not answer")

    simulation.cluster.before_write = die
    simulation.update(build_spec(**FASTER))
    await simulation.settle()
    assert simulation.says("Available") == ("False", "PodsNotReady")
    assert delay_s(simulation) == FIRST_WAIT_S


async def test_what_a_pass_told_is_known_to_the_next_one_before_its_event_comes() -> None:
    simulation = await build_ready()
    simulation.update(build_spec(ONE, paused=True))
    assert await make_pass(simulation) == ["apply ClipModel clip status"]
    simulation.cluster.undelivered.clear()
    assert await make_pass(simulation) == []


async def test_status_is_written_to_the_latest_state_that_was_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that is heard of during a pass moves the resourceVersion on; the pass's own is past then, and would be refused."""
    simulation = await build_ready()
    simulation.update(build_spec(ONE, OTHER, **PINNED))
    sent, apply_status = list[str](), simulation.cluster.apply_status

    async def noted(resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Any:
        sent.append(manifest["metadata"]["resourceVersion"])
        return await apply_status(resource, namespace, manifest)

    def annotate(what: str) -> None:
        if what.startswith("create Job"):
            simulation.cluster.edit(simulation.clip, lambda o: o["metadata"].update(annotations={"a": "b"}))
            simulation.deliver_all()

    monkeypatch.setattr(simulation.cluster, "apply_status", noted)
    simulation.cluster.before_write = annotate
    simulation.deliver_all()
    read_at = copy.deepcopy(simulation.clip)["metadata"]["resourceVersion"]
    await simulation.work()
    assert len(sent) == 1
    assert int(sent[0]) > int(read_at)
    assert simulation.says("Synced") == ("Unknown", "SyncPending")
    assert simulation.status["observedGeneration"] == simulation.clip["metadata"]["generation"]
