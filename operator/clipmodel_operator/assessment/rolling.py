"""May a new pod start beside those that it replaces? Where the volume can be mounted and a node has room: yes, and nobody notices the change.

The room is not counted beforehand: that would need the right to read every node and every pod of the cluster, and would be a guess at what the scheduler
does. A surge pod is tried, and where the scheduler (or a quota) refuses it, an old pod goes first: with a surge that waits for the last GPU, the roll would
never end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.models import names
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.facts import Observed
from clipmodel_operator.models.rolling import RollingStrategy
from clipmodel_operator.models.storage import AccessMode

#: A pod that ends holds its CPU, memory and GPU for its grace period: the scheduler's first refusal may be of a moment. Meanwhile the old pods serve.
PATIENCE_S = 30.0

Object = Mapping[str, Any]


def is_rolling(deployment: Object | None, pods: Sequence[Object] = ()) -> bool:
    """Tell whether there are pods of an earlier template.

    The Deployment counts them, but learns of its new template a moment after it was written; in that moment the pods tell. (Its counts leave out what is 0.)
    """
    status = (deployment or {}).get("status") or {}
    if int(status.get("updatedReplicas", 0)) < int(status.get("replicas", 0)):
        return True
    wanted = _template_of(((deployment or {}).get("spec") or {}).get("template"))
    return wanted is not None and any(_template_of(p) != wanted for p in pods if not is_ending(p))


def _template_of(obj: Object | None) -> str | None:
    annotations = ((obj or {}).get("metadata") or {}).get("annotations") or {}
    return annotations.get(names.ANNOTATION_TEMPLATE)


def choose_strategy(model: ClipModel, observed: Observed, *, now: datetime) -> RollingStrategy:
    """Choose how pods are replaced, by where the volume can be mounted and by what the scheduler said of the pods of a roll that is under way."""
    can_share, why = _can_share_volume(model, observed.claim)
    if not can_share:
        return RollingStrategy(has_surge=False, why=why)
    deployment = observed.deployment
    if not is_rolling(deployment, observed.server_pods):
        return RollingStrategy(has_surge=True, why=why)
    refused = list(_refused_pods(observed))
    waited_s = max(((now - since).total_seconds() for since, _ in refused), default=0.0)
    if refused and waited_s >= PATIENCE_S:
        return RollingStrategy(has_surge=False, why=f"there is no room for one pod more ({max(refused)[1]})")
    if _had_no_surge(deployment):
        # To the end of this roll: a pod that has just got the room of an old one says nothing of room for one more.
        return RollingStrategy(has_surge=False, why="there was no room for one pod more")
    return RollingStrategy(has_surge=True, why=why, recheck_s=PATIENCE_S - waited_s if refused else None)


def _can_share_volume(model: ClipModel, claim: Object | None) -> tuple[bool, str]:
    """Tell whether the volume can be mounted by one pod more, and why (not)."""
    storage, shared = model.spec.storage, AccessMode.READ_WRITE_MANY
    if storage.existing_claim is None:
        if storage.is_on_one_node:
            return True, "the volume is ReadWriteOnce, and all pods are on the node that has it"
        return True, f"the volume is {shared.value}"
    name = storage.existing_claim
    if claim is None:
        return False, f"it is not known where claim {name} can be mounted"
    modes = (claim.get("spec") or {}).get("accessModes") or ()
    if shared.value in modes:
        return True, f"claim {name} is {shared.value}"
    return False, f"claim {name} is {', '.join(modes)}: on another node a pod more could not mount it"


def _refused_pods(observed: Observed) -> Iterator[tuple[datetime, str]]:
    """List pods that no node takes and pods that may not be made: since when, and what the cluster says."""
    for pod in observed.server_pods:
        for condition in (pod.get("status") or {}).get("conditions") or ():
            is_refused = condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
            if is_refused and condition["status"] == "False" and not is_ending(pod):
                yield from _told(condition)
    for condition in ((observed.deployment or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield from _told(condition)


def _told(condition: Object) -> Iterator[tuple[datetime, str]]:
    since = condition.get("lastTransitionTime")
    if since:
        yield datetime.fromisoformat(str(since)), " ".join(str(condition.get("message", "")).split()).rstrip(".")


def _had_no_surge(deployment: Object | None) -> bool:
    strategy = ((deployment or {}).get("spec") or {}).get("strategy") or {}
    return (strategy.get("rollingUpdate") or {}).get("maxSurge") == 0
