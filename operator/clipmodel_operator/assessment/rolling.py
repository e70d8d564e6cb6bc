"""May a new pod start beside those that it replaces? Where the volume can be mounted and a node has room: yes, and nobody notices the change.

The room is not counted beforehand: that would need the right to read every node and every pod of the cluster, and would be a guess at what the scheduler
does. A surge pod is tried. Where the scheduler (or a quota) refuses it for want of what an old pod holds, an old pod goes first: with a surge that waits for
the last GPU, the roll would never end. Where it is refused for anything else the old pods stay: to end one would help nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.models import names
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.facts import Observed
from clipmodel_operator.models.quantity import parse_quantity
from clipmodel_operator.models.rolling import RollingStrategy
from clipmodel_operator.models.storage import AccessMode

#: A pod that ends holds its CPU, memory and GPU for its grace period: the scheduler's first refusal may be of a moment. Meanwhile the old pods serve.
PATIENCE_S = 30.0

# The scheduler's own words, in a pod's condition PodScheduled.
_INSUFFICIENT = re.compile(r"Insufficient ([\w./-]+\w)")
_NO_PODS_MORE = "Too many pods"
_NOT_NEAR = "didn't match pod affinity rules"

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
    refused = [r for r in _refusals(observed) if _would_help(model, observed, r)]
    waited_s = max(((now - r.since).total_seconds() for r in refused), default=0.0)
    if refused and waited_s >= PATIENCE_S:
        return RollingStrategy(has_surge=False, why=f"there is no room for one pod more ({refused[-1].message})")
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


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A pod that no node takes, or (`by_quota`) one that may not be made."""

    since: datetime
    message: str
    by_quota: bool


def _refusals(observed: Observed) -> Iterator[_Refusal]:
    for pod in observed.server_pods:
        for condition in (pod.get("status") or {}).get("conditions") or ():
            is_refused = condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
            if is_refused and condition["status"] == "False" and not is_ending(pod):
                yield from _told(condition, by_quota=False)
    for condition in ((observed.deployment or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield from _told(condition, by_quota=True)


def _told(condition: Object, *, by_quota: bool) -> Iterator[_Refusal]:
    since = condition.get("lastTransitionTime")
    if since:
        message = " ".join(str(condition.get("message", "")).split()).rstrip(".")
        yield _Refusal(datetime.fromisoformat(str(since)), message, by_quota)


def _would_help(model: ClipModel, observed: Observed, refusal: _Refusal) -> bool:
    """Tell whether a pod of the new template would get its place if one of an earlier template went."""
    deployment = observed.deployment or {}
    new = _requests(deployment.get("spec", {}).get("template", {}))
    template = _template_of(deployment.get("spec", {}).get("template"))
    old = [_requests(p) for p in observed.server_pods if not is_ending(p) and _template_of(p) != template]

    def is_held(resource: str) -> bool:
        wanted = new.get(resource, Decimal(0))
        return any(held.get(resource, Decimal(0)) >= wanted > 0 for held in old)

    if refusal.by_quota:
        return all(map(is_held, new))
    if any(map(is_held, _INSUFFICIENT.findall(refusal.message))) or _NO_PODS_MORE in refusal.message:
        return True
    # The scheduler comes to affinity last: a node that fails by it alone would take the pod, and the volume, once no old pod is left.
    return _NOT_NEAR in refusal.message and model.spec.serving.replicas == 1


def _requests(pod: Object) -> dict[str, Decimal]:
    """Read what Triton's container asks for; a limit without a request is one."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    resources = next((c.get("resources") or {} for c in containers if c.get("name") == names.SERVER_CONTAINER), {})
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    read: dict[str, Decimal] = {}
    for resource, quantity in wanted.items():
        with suppress(ValueError):  # 1e3, say, which nobody who applies our CRD can write
            read[resource] = parse_quantity(quantity)
    return read


def _had_no_surge(deployment: Object | None) -> bool:
    strategy = ((deployment or {}).get("spec") or {}).get("strategy") or {}
    return (strategy.get("rollingUpdate") or {}).get("maxSurge") == 0
