"""The status that a pass ends with: from what it has planned and seen to what a user is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.assessment.status import assess_status
from clipmodel_operator.assessment.status_input import ModelView, Subject
from clipmodel_operator.assessment.template import is_rolling
from clipmodel_operator.assessment.unschedulable import replica_failure
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.planning.commit import config_ids, runs, runs_committed
from clipmodel_operator.planning.objects import Desired
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
    config_failure: Failure | None,
    blocked: Failure | None,
    now: datetime,
) -> ClipModelStatus:
    """Say what is; little, where the pass ended before it had a model or a plan. `generation`: of the spec that the pass was about."""
    view = ModelView(pods=tuple(views), blocked=blocked)
    if model is not None and desired is not None:
        view = _view_of(model, desired, views, deployment=deployment, config_failure=config_failure, blocked=blocked)
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
    config_failure: Failure | None,
    blocked: Failure | None,
) -> ModelView:
    """Describe what the pass knows; the manifests are left out."""
    versions, committed = desired.versions, desired.committed.versions
    ids = config_ids(model, committed, views)
    listed = (_as_paused(v) for v in versions.versions) if model.spec.paused else versions.versions
    return ModelView(
        versions=(*versions.leaving, *listed),
        chosen=versions.target.chosen,
        target=versions.target.versions,
        committed=committed,
        pods=tuple(
            replace(v, is_current=_is_current(model, desired, v, ids, has_failed=config_failure is not None))
            for v in views
        ),
        pending=len(desired.pending),
        refused_pods=replica_failure(deployment),
        is_rolling=is_rolling(deployment, [v.pod for v in views]),
        config_failure=config_failure,
        blocked=blocked,
    )


def _is_current(model: ClipModel, desired: Desired, view: PodView, ids: Mapping[str, str], *, has_failed: bool) -> bool:
    """Tell whether a pod runs what it should. Of a paused ClipModel, and of a config that failed, the spec says something else: what is committed counts."""
    loaded, committed = view.loaded, desired.committed.versions
    if model.spec.paused:
        return loaded is not None and loaded.difference is None and loaded.versions == tuple(sorted(committed))
    if has_failed:
        is_right = loaded is not None and loaded.difference is None
        return is_right and runs_committed(view, desired.versions.before)
    return view.profile == model.spec.profile.value and runs(view, ids)


def _as_paused(version: Version) -> Version:
    """Say of a version without a Job that none will be made."""
    if version.phase in {SyncPhase.NO_JOB, SyncPhase.START_OVER}:
        return replace(version, progress="not fetched while spec.paused is true")
    return version
