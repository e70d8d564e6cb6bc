"""One pass, step by step: what is looked at once, in which order things are done, what is told in the middle, and when the next pass is due."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1 import clipmodel
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.assessment.requeue import POD_RECHECK_S
from clipmodel_operator.models.errors import RejectedError, RetryError
from clipmodel_operator.models.resources import JOBS, Resource
from clipmodel_operator.reconcile import reconciler
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
async def test_after_a_load_the_next_pass_comes_at_once(*, is_refused: bool) -> None:
    """What servers run has changed, or has been refused, and no event tells that."""
    simulation = await build_ready()
    simulation.triton.refuses = lambda _model, _config: is_refused
    simulation.update(build_spec(**FASTER))
    assert "load clip [1]" in " ".join(await make_pass(simulation))
    assert delay_s(simulation) == 0
    simulation.cluster.undelivered.clear()
    await simulation.settle()
    if is_refused:
        assert simulation.says("Stalled") == ("True", "ServerRejected")
    else:
        simulation.assert_ready()


@pytest.mark.parametrize("how", ["does not answer", "answers wrongly"])
async def test_a_pod_that_starts_and_has_not_proven_itself_is_asked_again_soon(how: str) -> None:
    """That it answers by now is no event."""
    simulation = Simulation()
    simulation.triton.answers, simulation.triton.serves_wrong = how != "does not answer", how == "answers wrongly"
    simulation.create()
    await simulation.settle()
    assert delay_s(simulation) == POD_RECHECK_S
    assert await make_pass(simulation) == [], "it is at rest, and goes on asking"
    assert delay_s(simulation) == POD_RECHECK_S
    simulation.triton.answers, simulation.triton.serves_wrong = True, False
    await simulation.settle_waiting(seconds=POD_RECHECK_S)
    simulation.assert_ready()
    assert delay_s(simulation) is None, "once proven, it is left alone"


async def test_a_ready_pod_that_answers_wrongly_is_asked_again_soon() -> None:
    """To load what is committed anew has failed, and is not tried again; the pod may heal, and nothing would tell."""
    simulation = await build_ready()
    simulation.triton.serves_wrong = True
    await simulation.restart_operator()
    await simulation.settle()
    assert delay_s(simulation) == POD_RECHECK_S
    assert simulation.says("Stalled") == ("True", "GoldenCheckFailed")
    simulation.triton.serves_wrong = False
    await simulation.settle_waiting(seconds=simulation.clock.seconds + POD_RECHECK_S)
    simulation.assert_ready()
    assert delay_s(simulation) is None


# What is told in the middle of a pass.


def break_loads(simulation: Simulation, *, after_s: float = 0.0) -> None:
    """Let Triton go away at every load, after some time."""

    def before_write(what: str) -> None:
        if what.startswith("load"):
            simulation.clock.seconds += after_s
            raise RetryError("Triton does not answer")

    simulation.cluster.before_write = before_write


async def with_version_2_on_the_volume() -> Simulation:
    """Give one whose Job has just brought version 2, before the operator has looked."""
    simulation = await build_ready()
    simulation.update(build_spec(ONE, TWO))
    await make_pass(simulation)
    while following := [s for s in simulation.controllers.steps() if "the pod runs" in s[0] or "makes a pod" in s[0]]:
        simulation._step(following[0])
    return simulation


async def test_a_load_that_failed_is_told_by_the_same_pass() -> None:
    simulation = await build_ready()
    break_loads(simulation)
    simulation.update(build_spec(**FASTER))
    writes = await make_pass(simulation)
    assert [w for w in writes if "status" in w] == ["apply ClipModel clip status"] * 2
    assert simulation.says("Ready") == ("False", "ServerFailed")
    assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")


async def test_a_load_that_failed_again_is_told_again() -> None:
    """In the same second it ends with the status that the pass had read, which is not the one that it wrote in between."""
    simulation = await build_ready()
    break_loads(simulation)
    simulation.update(build_spec(**FASTER))
    await make_pass(simulation)
    before = simulation.status
    writes = await make_pass(simulation)
    assert [w for w in writes if "status" in w] == ["apply ClipModel clip status"] * 2
    assert simulation.status == before


async def test_a_pass_that_tells_twice_tells_each_change_once() -> None:
    """The second status is compared with the first one, and not with what was read at the start: its events would come twice."""
    simulation = await with_version_2_on_the_volume()
    break_loads(simulation, after_s=40)
    before = simulation.events()
    stamp = simulation.clock.stamp()
    writes = await make_pass(simulation)
    assert len([w for w in writes if "status" in w]) == 2
    assert simulation.events()[len(before) :] == ["VersionSynced", "ServerFailed"]
    synced, ready = simulation.condition("Synced"), simulation.condition("Ready")
    assert synced is not None
    assert ready is not None
    assert synced["lastTransitionTime"] == stamp, "it became so before the load"
    assert ready["lastTransitionTime"] == simulation.clock.stamp() != stamp, "it became so by the load"


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
