"""The status that a pass ends with: from what it has planned and seen to what a user is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.status import (
    MAX_PODS,
    ClipModelStatus,
    PodStatus,
    RolloutPhase,
    RolloutStatus,
)
from clipmodel_operator.assessment.pods import is_ending, is_ready
from clipmodel_operator.assessment.status import assess_status
from clipmodel_operator.assessment.status_input import ModelView, Subject
from clipmodel_operator.assessment.template import is_rolling
from clipmodel_operator.assessment.unschedulable import replica_failure
from clipmodel_operator.models.ledger import find_revision
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.planning.failures import as_failure
from clipmodel_operator.planning.objects import Desired
from clipmodel_operator.planning.pod_step import runs, says_to_run
from clipmodel_operator.rendering.service import endpoints


def plan_status(
    obj: Mapping[str, Any],
    model: ClipModel | None,
    desired: Desired | None,
    views: Sequence[PodView],
    *,
    generation: int,
    previous: ClipModelStatus,
    deployment: Mapping[str, Any] | None,
    blocked: Failure | None,
    now: datetime,
) -> ClipModelStatus:
    """Say what is; little, where the pass ended before it had a model or a plan. `generation`: of the spec that the pass was about."""
    view = ModelView(pods=tuple(views), blocked=blocked)
    if model is not None and desired is not None:
        view = _view_of(model, desired, views, deployment=deployment, blocked=blocked)
    return assess_status(_subject_of(obj, model, generation=generation, previous=previous), view, now=now)


def _subject_of(
    obj: Mapping[str, Any], model: ClipModel | None, *, generation: int, previous: ClipModelStatus
) -> Subject:
    """Describe what the status is of; where the spec cannot be read, as far as it goes."""
    metadata = obj["metadata"]
    return Subject(
        generation=generation,
        name=metadata["name"],
        model_name=model.model_name if model else None,
        profile=model.spec.profile if model else None,
        replicas=model.spec.serving.replicas if model else 1,
        endpoints=endpoints(model) if model else None,
        previous=previous,
        is_paused=model.spec.paused if model else False,
    )


def _view_of(
    model: ClipModel,
    desired: Desired,
    views: Sequence[PodView],
    *,
    deployment: Mapping[str, Any] | None,
    blocked: Failure | None,
) -> ModelView:
    """Describe what the pass knows; the manifests are left out."""
    versions, serving = desired.versions, desired.rollout.ledger.serving
    listed = (_as_paused(v) for v in versions.versions) if model.spec.paused else versions.versions
    wanted = serving if desired.failure is not None or model.spec.paused else desired.rollout.target or serving
    return ModelView(
        versions=(*versions.leaving, *listed),
        chosen=versions.target.chosen,
        target=versions.target.versions,
        committed=serving.versions if serving is not None else (),
        pods=tuple(replace(v, is_current=_is_current(model, serving, v)) for v in map(_as_served, views)),
        pending=0
        if wanted is None or model.spec.paused
        else sum(1 for v in views if is_ready(v.pod) and not runs(v, wanted)),
        refused_pods=replica_failure(deployment),
        is_rolling=is_rolling(deployment, [v.pod for v in views]),
        config_failure=_config_failure(desired),
        blocked=blocked,
        rollout=_rollout_status(desired),
        pod_list=_list_pods(desired, views),
    )


def _as_served(view: PodView) -> PodView:
    """Say of a pod in the middle of a load what it served before: it goes on with that until it serves what it has proven."""
    is_between = view.loaded is None and view.before is not None
    return replace(view, loaded=view.before) if is_between else view


def _is_current(model: ClipModel, serving: Revision | None, view: PodView) -> bool:
    """Tell whether a pod runs what it should: what is proven, and of the profile that the spec asks for, unless nothing is to change."""
    if serving is None or not says_to_run(view, serving):
        return False
    return model.spec.paused or view.profile == model.spec.profile.value


def _config_failure(desired: Desired) -> Failure | None:
    """Say why the target is not taken. A version that serves is not to blame, though it is the one that was compared: the settings are."""
    if desired.failure is None:
        return None
    failure, serving = as_failure(desired.failure), desired.rollout.ledger.serving
    is_served = serving is not None and serving.digests.get(failure.version or 0) == desired.failure.sha256
    return replace(failure, version=None) if is_served else failure


def _rollout_status(desired: Desired) -> RolloutStatus | None:
    """Say which revisions there are, and how far pods are on the way."""
    ledger, target, attempt = desired.rollout.ledger, desired.rollout.target, desired.rollout.record.attempt
    if ledger.boot is None:
        return None
    failure = desired.failure or next(iter(desired.failing), None)
    phase = RolloutPhase(attempt.phase.value) if attempt is not None else RolloutPhase.WAITING if failure else None
    not_before = failure.not_before if failure is not None else None
    return RolloutStatus(
        proven_revision=ledger.proven.id if ledger.proven else None,
        target_revision=target.id if target else None,
        phase=phase,
        tries=attempt.tries if attempt is not None else failure.tries if failure is not None else None,
        not_before=f"{not_before:%Y-%m-%dT%H:%M:%SZ}" if not_before is not None else None,
        reason=failure.message if failure is not None else None,
    )


def _list_pods(desired: Desired, views: Sequence[PodView]) -> tuple[PodStatus, ...]:
    """Say which revision each pod runs, as far as it is known."""
    listed = []
    for view in sorted((v for v in views if not is_ending(v.pod)), key=lambda v: str(v.pod["metadata"]["name"])):
        config_id = view.loaded.config_id if view.loaded is not None else ""
        found = find_revision(desired.known, profile=view.profile, config_id=config_id)
        listed.append(
            PodStatus(name=view.pod["metadata"]["name"], revision=found.id if found else None, ready=is_ready(view.pod))
        )
    return tuple(listed[:MAX_PODS])


def _as_paused(version: Version) -> Version:
    """Say of a version without a Job that none will be made."""
    if version.phase in {SyncPhase.NO_JOB, SyncPhase.START_OVER}:
        return replace(version, progress="not fetched while spec.paused is true")
    return version
