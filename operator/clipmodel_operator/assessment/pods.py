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


def incarnation(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Name this run of this pod: a restarted container is another one, and must prove itself again."""
    containers = _status(pod).get("containerStatuses") or ()
    return (pod["metadata"]["uid"], *(str(c.get("containerID", "")) for c in containers))


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
