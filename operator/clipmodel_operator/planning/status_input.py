"""From the plan of a pass to what its status is made of: the manifests are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.status_input import ModelView
from clipmodel_operator.assessment.template import is_rolling
from clipmodel_operator.assessment.unschedulable import replica_failure
from clipmodel_operator.models.failure import Failure
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.planning.commit import runs
from clipmodel_operator.planning.objects import Desired


def view_of(
    model: ClipModel | None,
    desired: Desired | None,
    views: Sequence[PodView],
    *,
    config_failure: Failure | None,
    blocked: Failure | None,
    deployment: Mapping[str, Any] | None = None,
) -> ModelView:
    """Describe what the pass knows; little, where it ended early."""
    if model is None or desired is None:
        return ModelView(pods=tuple(views), blocked=blocked)
    versions, committed = desired.versions, desired.committed.versions
    listed = (_as_paused(v) for v in versions.versions) if model.spec.paused else versions.versions
    return ModelView(
        versions=(*versions.leaving, *listed),
        chosen=versions.target.chosen,
        target=versions.target.versions,
        committed=committed,
        pods=tuple(replace(v, is_current=_is_current(model, v, committed)) for v in views),
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


def _as_paused(version: Version) -> Version:
    """Say of a version without a Job that none will be made."""
    if version.phase in {SyncPhase.NO_JOB, SyncPhase.START_OVER}:
        return replace(version, progress="not fetched while spec.paused is true")
    return version
