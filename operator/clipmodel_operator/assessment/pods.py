"""What a pod's status says: ready or not, which config and versions it started with, and what is wrong with it, in a person's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_operator.models import names
from clipmodel_operator.models.observed import PodView

#: Triton names the cause after this; before it stands what everybody knows, and status has no room for both.
_TRITONS_CAUSE = "is at UNAVAILABLE state: "
#: Reasons of a waiting container that are no trouble.
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})


def _status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return pod.get("status") or {}


def is_ending(pod: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"] or _status(pod).get("phase") in {"Succeeded", "Failed"}


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether traffic reaches the pod."""
    conditions = _status(pod).get("conditions") or ()
    return not is_ending(pod) and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def is_running(pod: Mapping[str, Any]) -> bool:
    """Tell whether the containers run and the pod has an address: Triton may answer."""
    containers = _status(pod).get("containerStatuses") or ()
    running = bool(containers) and all("running" in c.get("state", {}) for c in containers)
    return running and bool(_status(pod).get("podIP")) and not is_ending(pod)


def is_unproven(view: PodView) -> bool:
    """Tell whether a pod runs and has not answered with the proven embeddings: nothing tells of the moment in which it does."""
    return is_running(view.pod) and (view.loaded is None or view.loaded.difference is not None)


def run_of(pod: Mapping[str, Any]) -> str:
    """Name this run of this pod's Triton: a container that was started again is another run, and has proven nothing."""
    return f"{pod['metadata']['uid']}/{_server_container(pod).get('containerID', '')}"


def uid_of_run(run: str) -> str:
    """Give the uid of the pod that a run is of."""
    return run.split("/", 1)[0]


def _server_container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the status of Triton's container; a mesh may have added others."""
    containers = _status(pod).get("containerStatuses") or ()
    found: Mapping[str, Any] = next((c for c in containers if c.get("name") == names.SERVER_CONTAINER), {})
    return found


def has_started(pod: Mapping[str, Any]) -> bool:
    """Tell whether the startup probe of this run has passed: it is not asked again, whatever is loaded later."""
    return bool(_server_container(pod).get("started")) or is_ready(pod)


def restarts(pod: Mapping[str, Any]) -> int:
    return int(_server_container(pod).get("restartCount") or 0)


def last_end(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give how Triton's container ended last; empty where it never did."""
    container = _server_container(pod)
    found: Mapping[str, Any] = (
        (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    )
    return found


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Tell whether Triton's container has ended, and is not started again yet: at once, or when kubelet's back-off is over."""
    container = _server_container(pod)
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return "terminated" in state or ("waiting" in state and "terminated" in last)


def is_crashing(pod: Mapping[str, Any]) -> bool:
    """Tell whether Triton ended more than once and is not started at once again: kubelet's own word for it."""
    waiting = (_server_container(pod).get("state") or {}).get("waiting") or {}
    return waiting.get("reason") == "CrashLoopBackOff" and not is_ending(pod)


def may_read(pod: Mapping[str, Any]) -> bool:
    """Tell whether a container of the pod may start again, and read its files anew: also one that is being deleted, until it is gone."""
    return _status(pod).get("phase") not in {"Succeeded", "Failed"}


def slot_of(pod: Mapping[str, Any]) -> str:
    """Name the slot that the pod reads: which of the two ConfigMaps it mounts."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("name") == "config":
            name = str((volume.get("configMap") or {}).get("name", ""))
            return names.SLOT_B if name.endswith(f"-config-{names.SLOT_B}") else ""
    return ""


def started_profile(pod: Mapping[str, Any]) -> str:
    """Name the profile whose config the pod reads at start; a pod that does not say (it is not of ours) counts as cpu."""
    annotations = pod["metadata"].get("annotations") or {}
    return str(annotations.get(names.ANNOTATION_PROFILE) or "cpu")


def find_trouble(pod: Mapping[str, Any]) -> str | None:
    """Say what keeps a pod from running, with what to do; None where nothing does."""
    if is_ending(pod):
        return None
    name, status = pod["metadata"]["name"], _status(pod)
    for condition in status.get("conditions") or ():
        if (
            condition["type"] == "PodScheduled"
            and condition["status"] == "False"
            and condition.get("reason") == "Unschedulable"
        ):
            return f"pod {name} cannot be scheduled: {condition.get('message', '')}"
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason", "") not in _STARTING:
            last = (container.get("lastState", {}).get("terminated") or {}).get("message", "").strip()
            # The last line of a log is where programs say why they end.
            detail = last.splitlines()[-1].split(_TRITONS_CAUSE, 1)[-1] if last else waiting.get("message", "")
            return f"pod {name}: {waiting['reason']}: {detail}"
    return None
