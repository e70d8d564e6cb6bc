"""From the plan of a pass to what its status is made of: the manifests are left out, and every version gets its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipmodel_operator.assessment.rolling import is_rolling
from clipmodel_operator.assessment.rollout import space_ids
from clipmodel_operator.assessment.room import replica_failure
from clipmodel_operator.assessment.sync import SyncPhase
from clipmodel_operator.models import reasons
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.facts import Blocked, PodView, RolloutFailure
from clipmodel_operator.models.view import ModelView, PodState, Problem, VersionView
from clipmodel_operator.reconcile.desired import Desired, VersionPlan, runs


def view_of(
    model: ClipModel | None,
    desired: Desired | None,
    views: Sequence[PodView],
    *,
    config_failure: RolloutFailure | None,
    blocked: Blocked | None,
    deployment: Mapping[str, Any] | None = None,
) -> ModelView:
    """Describe what the pass knows; little, where it ended early."""
    if model is None or desired is None:
        return ModelView(pods=tuple(PodState(v.pod, loaded=v.loaded) for v in views), blocked=blocked)
    versions, committed = desired.versions, desired.committed.versions
    tolerance = model.spec.verification.min_cosine
    spaces = space_ids(versions.records, versions.spaces, min_cosine=tolerance)
    in_spec = {p.number for p in versions.plans}
    leaving = [
        VersionView(r.version, r.sha256, r.size_bytes, spaces.get(r.version))
        for r in versions.records
        if r.version not in in_spec
    ]
    return ModelView(
        versions=tuple(leaving + [_version_view(p, spaces, is_paused=model.spec.paused) for p in versions.plans]),
        chosen=versions.target.chosen,
        target=versions.target.versions,
        committed=committed,
        pods=tuple(
            PodState(
                v.pod,
                is_current=_is_current(model, v, committed),
                loaded=v.loaded,
            )
            for v in views
        ),
        pending=len(desired.pending),
        refused_pods=replica_failure(deployment),
        is_rolling=is_rolling(deployment, [v.pod for v in views]),
        config_failure=config_failure,
        blocked=blocked,
    )


def _is_current(model: ClipModel, view: PodView, committed: Sequence[int]) -> bool:
    """Tell whether a pod runs what it should. Of a paused ClipModel the spec may say something else than what serves: what is committed counts."""
    if model.spec.paused:
        loaded = view.loaded
        return loaded is not None and loaded.difference is None and loaded.versions == tuple(sorted(committed))
    return view.profile == model.spec.profile.value and runs(model, view, committed)


def _version_view(plan: VersionPlan, spaces: Mapping[int, str], *, is_paused: bool) -> VersionView:
    sync = plan.sync
    if is_paused and sync.phase in {SyncPhase.NO_JOB, SyncPhase.START_OVER}:
        return VersionView(plan.number, progress="not fetched while spec.paused is true")
    if sync.record is not None:
        refusal = plan.refusal
        problem = Problem(refusal.reason, refusal.message, is_final=True) if refusal else None
        return VersionView(
            plan.number, sync.record.sha256, sync.record.size_bytes, spaces.get(plan.number), problem=problem
        )
    match sync.phase:
        case SyncPhase.FAILED | SyncPhase.RETRYING:
            reason = sync.failure.reason if sync.failure else reasons.SYNC_FAILED
            is_final = sync.phase is SyncPhase.FAILED
            return VersionView(plan.number, is_begun=True, problem=Problem(reason, sync.message, is_final=is_final))
        case SyncPhase.RUNNING:
            return VersionView(plan.number, is_begun=True, progress=sync.message)
        case SyncPhase.NO_JOB | SyncPhase.START_OVER | SyncPhase.DONE:
            return VersionView(plan.number, progress=sync.message)
