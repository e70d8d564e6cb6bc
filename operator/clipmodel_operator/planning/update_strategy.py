"""May a new pod start beside those that it replaces? Where the volume can be mounted and a node has room: yes, and nobody notices the change.

The room is not counted beforehand: that would need the right to read every node and every pod of the cluster, and would be a guess at what the scheduler
does. A surge pod is tried. Where the scheduler (or a quota) refuses it for want of what an old pod holds, an old pod goes first: with a surge that waits for
the last GPU, the roll would never end. Where it is refused for anything else the old pods stay: to end one would help nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.storage import AccessMode
from clipmodel_operator.assessment.template import is_rolling, template_of
from clipmodel_operator.assessment.unschedulable import Refusal, list_refusals, would_help
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.update_strategy import UpdateStrategy

#: A pod that ends holds its CPU, memory and GPU for its grace period: the scheduler's first refusal may be of a moment. Meanwhile the old pods serve.
PATIENCE_S = 30.0

Object = Mapping[str, Any]


def choose_strategy(
    model: ClipModel, observed: Observed, *, now: datetime, refused_since: datetime | None = None
) -> UpdateStrategy:
    """Choose how pods are replaced, by where the volume can be mounted and by what was said of the pods of a roll that is under way.

    `refused_since` is what the last choice said of itself.
    """
    can_share, why = _can_share_volume(model, observed.claim)
    if not can_share:
        return UpdateStrategy(has_surge=False, why=why)
    if not is_rolling(observed.deployment, observed.server_pods):
        return UpdateStrategy(has_surge=True, why=why)
    if _had_no_surge(observed.deployment):
        # To the end of this roll: a pod that has just got the room of an old one says nothing of room for one more.
        return UpdateStrategy(has_surge=False, why="there was no room for one pod more")
    refusal = _find_refusal(model, observed)
    if refusal is None:
        return UpdateStrategy(has_surge=True, why=why)
    since = refused_since or now
    waits_s = PATIENCE_S - (now - since).total_seconds()
    if waits_s > 0:
        return UpdateStrategy(has_surge=True, why=why, refused_since=since, recheck_s=waits_s)
    why = f"there is no room for one pod more ({refusal.message})"
    return UpdateStrategy(has_surge=False, why=why, refused_since=since)


def _can_share_volume(model: ClipModel, claim: Object | None) -> tuple[bool, str]:
    """Tell whether the volume can be mounted by one pod more, and why (not)."""
    storage, shared = model.spec.storage, AccessMode.READ_WRITE_MANY
    if storage.keeps_pods_together:
        return True, "the volume is ReadWriteOnce, and all pods are on the node that has it"
    if storage.existing_claim is None:
        return True, f"the volume is {shared.value}"
    name = storage.existing_claim
    if claim is None:
        return False, f"it is not known where claim {name} can be mounted"
    modes = (claim.get("spec") or {}).get("accessModes") or ()
    if shared.value in modes:
        return True, f"claim {name} is {shared.value}"
    return False, f"claim {name} is {', '.join(modes)}: on another node a pod more could not mount it"


def _find_refusal(model: ClipModel, observed: Observed) -> Refusal | None:
    """Find a refusal that an old pod's end would turn into a place."""
    template, pods = template_of(observed.deployment), observed.server_pods
    may_move = _may_move(model)
    refusals = list_refusals(template, observed.deployment or {}, pods)
    return next((r for r in refusals if would_help(r, template, pods, may_move=may_move)), None)


def _may_move(model: ClipModel) -> bool:
    """Tell whether nothing but the one pod that is there keeps its successor from another node: our affinity, and none of the user's."""
    serving = model.spec.serving
    near = serving.affinity.pod_affinity if serving.affinity else None
    is_theirs = near is not None and near.required_during_scheduling_ignored_during_execution is not None
    return model.spec.storage.keeps_pods_together and serving.replicas == 1 and not is_theirs


def _had_no_surge(deployment: Object | None) -> bool:
    strategy = ((deployment or {}).get("spec") or {}).get("strategy") or {}
    return (strategy.get("rollingUpdate") or {}).get("maxSurge") == 0
