"""What a pod's status says, as the kubelet writes it: ready, running, ending, which run it is, and what is wrong with it in a person's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from clipmodel_operator.assessment.pods import (
    find_trouble,
    has_ended,
    has_started,
    is_crashing,
    is_ending,
    is_ready,
    is_running,
    is_unproven,
    last_end,
    may_read,
    restarts,
    run_of,
    slot_of,
    started_profile,
    uid_of_run,
)
from clipmodel_operator.models.observed import PodView
from support.builders import Object, build_server_pod, build_view

CRASHED = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}


def with_status(pod: Object | None = None, **fields: Any) -> Object:
    """Build a pod whose status says something else in places."""
    pod = build_server_pod() if pod is None else pod
    return {**pod, "status": {**pod["status"], **fields}}


def without_status() -> Object:
    """Build a pod as it was made a moment ago."""
    return {k: v for k, v in build_server_pod().items() if k != "status"}


RUNNING: Object = {"name": "triton", "state": {"running": {}}}
STOPPED: Object = {"name": "mesh", "state": {"terminated": {"exitCode": 0}}}


@dataclass(frozen=True)
class Case:
    pod: Object
    ready: bool = False
    running: bool = False
    ending: bool = False


CASES = {
    "it is ready": Case(build_server_pod(), ready=True, running=True),
    "it runs and is not ready": Case(build_server_pod(is_ready=False), running=True),
    "it waits for its image": Case(build_server_pod(waiting={"reason": "ErrImagePull"})),
    "it has no node": Case(build_server_pod(unschedulable="0/1 nodes are available")),
    "it was made this moment": Case(without_status()),
    "it has a status of nothing": Case({**build_server_pod(), "status": None}),
    "it ends, and is said to be ready": Case(build_server_pod(is_ending=True), ending=True),
    "it has ended well": Case(with_status(phase="Succeeded"), ending=True),
    "it was evicted": Case(with_status(phase="Failed"), ending=True),
    "it has no address yet": Case(with_status(podIP=None), ready=True),
    "one of two containers runs": Case(with_status(containerStatuses=[RUNNING, STOPPED]), ready=True),
    "a container has no state yet": Case(with_status(containerStatuses=[{"name": "triton"}]), ready=True),
    "its containers are not known yet": Case(with_status(containerStatuses=None), ready=True),
    "another condition is true": Case(with_status(conditions=[{"type": "PodScheduled", "status": "True"}]), running=True),
    "whether it is ready is unknown: its node is away": Case(with_status(conditions=[{"type": "Ready", "status": "Unknown"}]), running=True),
    "it has no conditions": Case(with_status(conditions=None), running=True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_it_is_when(name: str) -> None:
    case = CASES[name]
    assert (is_ready(case.pod), is_running(case.pod), is_ending(case.pod)) == (case.ready, case.running, case.ending)


UNPROVEN: dict[str, tuple[PodView, bool]] = {
    "it has proven what it runs": (build_view(1), False),
    "it does not answer": (build_view(), True),
    "it answers wrongly": (build_view(1, difference="cosine 0.5"), True),
    "it does not answer, and is not ready either": (build_view(pod=build_server_pod(is_ready=False)), True),
    "it does not run yet: an event will tell": (build_view(pod=build_server_pod(is_running=False)), False),
    "it ends": (build_view(pod=build_server_pod(is_ending=True)), False),
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_whether_it_must_be_asked_again_when(name: str) -> None:
    view, is_it = UNPROVEN[name]
    assert is_unproven(view) is is_it


#: Pods, and what is said of them; None where all is well.
TROUBLE: dict[str, tuple[Object, str | None]] = {
    "it is ready": (build_server_pod(), None),
    "it was made this moment": (without_status(), None),
    "its container is created": (build_server_pod(is_running=False, is_ready=False), None),
    "its init containers run": (build_server_pod(waiting={"reason": "PodInitializing"}), None),
    "it waits for no reason": (build_server_pod(waiting={}), None),
    "its image is not there": (build_server_pod(waiting={"reason": "ErrImagePull", "message": "not found"}), "pod clip-0: ErrImagePull: not found"),
    "the kubelet says no more than a reason": (build_server_pod(waiting={"reason": "ErrImagePull"}), "pod clip-0: ErrImagePull: "),
    "it has crashed, and said nothing": (build_server_pod(waiting=CRASHED, last_log=""), f"pod clip-0: CrashLoopBackOff: {CRASHED['message']}"),
    "it has crashed with blank lines": (build_server_pod(waiting=CRASHED, last_log=" \n\n"), f"pod clip-0: CrashLoopBackOff: {CRASHED['message']}"),
    "it has crashed: the log's last line says why": (build_server_pod(waiting=CRASHED, last_log="starting\nout of memory\n"), "pod clip-0: CrashLoopBackOff: out of memory"),
    "Triton names the cause behind what everybody knows": (build_server_pod(waiting=CRASHED, last_log="error: load failed for model 'clip': version 1 is at UNAVAILABLE state: invalid gpu id 0."), "pod clip-0: CrashLoopBackOff: invalid gpu id 0."),
    "it runs again, and crashed before": (build_server_pod(last_log="out of memory"), None),
    "no node takes it": (build_server_pod(unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), "pod clip-0 cannot be scheduled: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
    "the scheduler waits for a gate": (with_status(conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]), None),
    "a node took it": (with_status(conditions=[{"type": "PodScheduled", "status": "True", "reason": "Unschedulable"}]), None),
    "the scheduler gives no words": (with_status(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]), "pod clip-0 cannot be scheduled: "),
    "the second container waits": (with_status(containerStatuses=[RUNNING, {"name": "mesh", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]), "pod clip-0: ErrImagePull: no"),
    "it ends: nothing is wrong with what goes": (build_server_pod(waiting=CRASHED, is_ending=True), None),
    "no node took it, and it ends": (build_server_pod(unschedulable="0/1 nodes are available", is_ending=True), None),
}  # fmt: skip


@pytest.mark.parametrize("name", TROUBLE)
def test_what_is_wrong_with_it_when(name: str) -> None:
    pod, said = TROUBLE[name]
    assert find_trouble(pod) == said


def test_a_run_of_a_pod_is_its_uid_and_its_containers() -> None:
    pod = build_server_pod()
    assert run_of(pod) == run_of(build_server_pod())
    restarted = with_status(containerStatuses=[{"name": "triton", "containerID": "containerd://another"}])
    successor = {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
    runs = [run_of(p) for p in (pod, restarted, successor, without_status())]
    assert len(set(runs)) == 4
    assert [uid_of_run(r) for r in runs] == ["uid-clip-0", "uid-clip-0", "another", "uid-clip-0"]


def test_a_run_is_told_by_tritons_container_whatever_a_mesh_adds() -> None:
    mesh: Object = {"name": "mesh", "containerID": "containerd://mesh", "restartCount": 9, "started": True, "state": {}}
    triton: Object = {"name": "triton", "containerID": "containerd://clip-0", "restartCount": 1, "state": {}}
    pod = with_status(build_server_pod(is_ready=False), containerStatuses=[mesh, triton])
    assert run_of(pod) == run_of(build_server_pod())
    assert (restarts(pod), has_started(pod)) == (1, False)


def contained(**fields: Any) -> Object:
    """Build a pod that is not ready, with something said of Triton's container."""
    return with_status(build_server_pod(is_ready=False), containerStatuses=[{"name": "triton", **fields}])


OOM: Object = {"reason": "OOMKilled"}
EXIT: Object = {"reason": "Error"}
#: A pod -> whether its startup probe has passed, how Triton ended last, whether it is down at this moment, and whether it crashes again and again.
ENDS: dict[str, tuple[Object, bool, Object, bool, bool]] = {
    "it is ready, and an old kubelet says nothing of its startup": (build_server_pod(), True, {}, False, False),
    "its startup probe has not passed": (contained(started=False, state={"running": {}}), False, {}, False, False),
    "its startup probe has passed": (contained(started=True, state={"running": {}}), True, {}, False, False),
    "it has ended a moment ago": (contained(state={"terminated": OOM}), False, OOM, True, False),
    "it has ended a moment ago, and before": (contained(state={"terminated": OOM}, lastState={"terminated": EXIT}), False, OOM, True, False),
    "it runs again": (contained(state={"running": {}}, lastState={"terminated": EXIT}), False, EXIT, False, False),
    "it waits to be started again": (contained(state={"waiting": CRASHED}, lastState={"terminated": EXIT}), False, EXIT, True, True),
    "it waits for its image": (contained(state={"waiting": {"reason": "ErrImagePull"}}), False, {}, False, False),
    "it has no status": (without_status(), False, {}, False, False),
    "it crashed, and is deleted": (build_server_pod(waiting=CRASHED, is_ending=True), False, {}, False, False),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_how_triton_ended_when(name: str) -> None:
    pod, *expected = ENDS[name]
    assert [has_started(pod), last_end(pod), has_ended(pod), is_crashing(pod)] == expected


READS: dict[str, tuple[Object, bool]] = {
    "it runs": (build_server_pod(), True),
    "it is being deleted: a container may start again until it is gone": (build_server_pod(is_ending=True), True),
    "it has ended for good": (with_status(phase="Failed"), False),
    "it has done its work": (with_status(phase="Succeeded"), False),
}


@pytest.mark.parametrize("name", READS)
def test_whether_it_may_read_its_files_anew_when(name: str) -> None:
    pod, may = READS[name]
    assert may_read(pod) is may


def mounting(*volumes: Object) -> Object:
    return {**build_server_pod(), "spec": {"volumes": list(volumes)}}


PROOF: Object = {"name": "proof", "configMap": {"name": "clip-config-b"}}
SLOTS: dict[str, tuple[Object, str]] = {
    "the first": (mounting({"name": "config", "configMap": {"name": "clip-config"}}), ""),
    "the second": (mounting(PROOF, {"name": "config", "configMap": {"name": "clip-config-b"}}), "b"),
    "of a ClipModel whose name ends like it": (mounting({"name": "config", "configMap": {"name": "clip-config-b-config"}}), ""),
    "it mounts no configs": (mounting(PROOF), ""),
    "its spec is not told": ({**build_server_pod(), "spec": None}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOTS)
def test_which_slot_it_reads(name: str) -> None:
    pod, slot = SLOTS[name]
    assert slot_of(pod) == slot


#: A pod's annotations -> the profile whose config it reads.
PROFILES: dict[str, tuple[Object | None, str]] = {
    "it says gpu": ({"clipmodel.dev/profile": "gpu"}, "gpu"),
    "it says cpu": ({"clipmodel.dev/profile": "cpu"}, "cpu"),
    "it says nothing": ({"clipmodel.dev/profile": ""}, "cpu"),
    "it is not of ours": ({"example.com/profile": "gpu"}, "cpu"),
    "it has no annotations": (None, "cpu"),
}


@pytest.mark.parametrize("name", PROFILES)
def test_which_config_it_reads_when(name: str) -> None:
    annotations, profile = PROFILES[name]
    assert started_profile({"metadata": {"annotations": annotations}}) == profile
