"""Is a pod of a new template refused for want of what a pod of an earlier one holds? Read from the scheduler's and the quota's own words.

An old pod that serves is ended on this answer: in doubt it is no.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.assessment.template import is_of_template
from clipmodel_operator.models import names
from clipmodel_operator.models.quantity import parse_quantity

Object = Mapping[str, Any]

# In a pod's condition PodScheduled: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match … rules. preemption: …".
_NODES = re.compile(r"0/(\d+) nodes are available: (.*?)(?:\.(?: |$)|$)")
_REASON = re.compile(r"(\d+) (.+?)(?=, \d+ |$)")
_INSUFFICIENT = "Insufficient "
_TOO_MANY_PODS = "Too many pods"
_NOT_NEAR = "node(s) didn't match pod affinity rules"
_NOT_APART = ("node(s) didn't match pod anti-affinity rules", "node(s) didn't match pod topology spread constraints")
# In the Deployment's condition ReplicaFailure: "… exceeded quota: NAME, requested: requests.nvidia.com/gpu=1,pods=1, used: …".
_QUOTA = re.compile(r"exceeded quota: [^,]+, requested: (.+?), used: ")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the cluster said of a pod that it has no place for: of `pod`, or of one that may not even be made."""

    message: str
    pod: Object | None = None


def list_refusals(template: Object, deployment: Object, pods: Sequence[Object]) -> Iterator[Refusal]:
    """List what was refused of the Deployment's current template."""
    for pod in pods:
        for condition in (pod.get("status") or {}).get("conditions") or ():
            is_refused = condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
            if is_refused and condition["status"] == "False" and not is_ending(pod) and is_of_template(pod, template):
                yield Refusal(_one_line(condition), pod)
    failed = replica_failure(deployment)
    if failed is not None:
        yield Refusal(failed)


def replica_failure(deployment: Object | None) -> str | None:
    """Say why the Deployment may not make a pod: a quota, an admission rule, a service account that is not there."""
    for condition in ((deployment or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _one_line(condition)
    return None


def _one_line(condition: Object) -> str:
    return " ".join(str(condition.get("message", "")).split()).rstrip(".")


def would_help(refusal: Refusal, template: Object, pods: Sequence[Object], *, may_move: bool) -> bool:
    """Tell whether a new pod would get its place if an old one went.

    `may_move`: the only pod goes, and with it the volume is free for another node.
    """
    old = [p for p in pods if not is_ending(p) and not is_of_template(p, template)]
    # One that has no node holds nothing.
    holders = [p for p in old if p["spec"].get("nodeName")]
    if refusal.pod is None:
        return _quota_would_help(refusal.message, template, holders)
    said = _NODES.match(refusal.message)
    if said is None:
        return False
    unhelpful = sum(
        int(count)
        for count, reason in _REASON.findall(said[2])
        if not _reason_would_help(reason, refusal.pod, holders, may_move=may_move)
    )
    # A node is counted once for each reason that it has: if fewer are counted than there are, one has none but helpful reasons.
    return unhelpful < int(said[1])


def _reason_would_help(reason: str, pod: Object, holders: Sequence[Object], *, may_move: bool) -> bool:
    if reason == _NOT_NEAR:
        # The scheduler comes to affinity last: such a node would take the pod, were the old one not where it is.
        return may_move and bool(holders)
    like = [h for h in holders if _may_stand_in(pod, h)]
    if reason in _NOT_APART:
        return any(_is_same(pod, h, "affinity") and _is_same(pod, h, "topologySpreadConstraints") for h in like)
    if reason == _TOO_MANY_PODS:
        return bool(like)
    resource = reason.removeprefix(_INSUFFICIENT)
    wanted = _requests(pod).get(resource, Decimal(0))
    return resource != reason and any(_requests(h).get(resource, Decimal(0)) >= wanted > 0 for h in like)


def _may_stand_in(pod: Object, holder: Object) -> bool:
    """Tell whether the pod may be put where the holder is, as far as their specs say."""
    new, old = pod["spec"], holder["spec"]
    selector, tolerations = new.get("nodeSelector") or {}, new.get("tolerations") or []
    return (
        selector.items() <= (old.get("nodeSelector") or {}).items()
        and (new.get("affinity") or {}).get("nodeAffinity") == (old.get("affinity") or {}).get("nodeAffinity")
        and all(t in tolerations for t in old.get("tolerations") or ())
    )


def _is_same(pod: Object, holder: Object, field: str) -> bool:
    return bool(pod["spec"].get(field) == holder["spec"].get(field))


def _quota_would_help(message: str, template: Object, holders: Sequence[Object]) -> bool:
    found = _QUOTA.search(message)
    if found is None:
        return False
    resources = [r.split("=")[0].removeprefix("requests.").removeprefix("limits.") for r in found[1].split(",")]
    new = _requests(template)

    def is_held(resource: str, held: Mapping[str, Decimal]) -> bool:
        # Counted per pod, or given by a LimitRange: the same for both.
        return resource not in new or held.get(resource, Decimal(0)) >= new[resource]

    return any(all(is_held(r, held) for r in resources) for held in map(_requests, holders))


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
