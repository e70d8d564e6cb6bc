"""Which sync Jobs should be: one for each version that is not on the volume, a few at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.rendering.canonical import without_none
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.rendering.sync_job import render_sync_job

Manifest = dict[str, Any]

# Each Job holds one version in memory to prove it, and shares the source's bandwidth.
_JOBS_AT_ONCE = 2


def plan_jobs(model: ClipModel, observed: Observed, settings: RenderSettings) -> dict[int, Manifest]:
    """Render the Job of every version of the spec, by version number: whether it is needed is another question."""
    is_bound = _is_bound(model, observed)
    node = _node_in_use(observed) if model.spec.storage.is_on_one_node else None
    return {
        v.version: without_none(render_sync_job(model, v, settings, binds_volume=not is_bound, node=node))
        for v in model.spec.versions
    }


def job_name(job: Mapping[str, Any]) -> str:
    return str(job["metadata"]["name"])


def jobs_to_create(versions: Sequence[Version], jobs: Mapping[int, Manifest]) -> tuple[Manifest, ...]:
    """Choose the next Jobs, highest version first."""
    working = sum(1 for v in versions if v.phase in {SyncPhase.RUNNING, SyncPhase.RETRYING})
    missing = sorted((v.number for v in versions if v.phase is SyncPhase.NO_JOB), reverse=True)
    return tuple(jobs[number] for number in missing[: max(0, _JOBS_AT_ONCE - working)])


def jobs_to_restart(versions: Sequence[Version], jobs: Mapping[int, Manifest]) -> frozenset[str]:
    """Name the Jobs that ended and can tell nothing: deleted, and made again."""
    return frozenset(job_name(jobs[v.number]) for v in versions if v.phase is SyncPhase.START_OVER)


def jobs_to_keep(versions: Sequence[Version], jobs: Mapping[int, Manifest]) -> frozenset[str]:
    """Name the Jobs that stay: those that work, and those that ended, for their logs."""
    return frozenset(job_name(jobs[v.number]) for v in versions if v.phase is not SyncPhase.START_OVER)


def _node_in_use(observed: Observed) -> str | None:
    """Name the node that has the claim mounted: a ReadWriteOnce volume can be mounted nowhere else. None where no pod holds it."""
    nodes = (p.get("spec", {}).get("nodeName") for p in observed.server_pods if not is_ending(p))
    return next((n for n in nodes if n), None)


def _is_bound(model: ClipModel, observed: Observed) -> bool:
    """Tell whether the claim has its volume already. The user's own claim is not ours to look at: it has one when pods have run on it."""
    if model.spec.storage.existing_claim is not None:
        return observed.deployment is not None
    return observed.claim is not None and (observed.claim.get("status") or {}).get("phase") == "Bound"
