"""What would the operator make of a ClipModel in the end, given what is in the cluster? The same planning, asked as if every sync had succeeded.

Golden vectors of versions that are not synced yet are made in the cluster only, and are stood in for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clipmodel_contract import golden
from clipmodel_contract.report import VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import ModelVersion
from clipmodel_operator.assessment.rollout import plan_target
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.models.version import SyncPhase
from clipmodel_operator.planning.jobs import job_name, jobs_to_keep
from clipmodel_operator.planning.objects import must_replace, plan_objects
from clipmodel_operator.planning.situation import RolloutPlan
from clipmodel_operator.planning.update_strategy import choose_strategy
from clipmodel_operator.planning.versions import (
    VersionsPlan,
    assess_versions,
    plan_versions,
    served_versions,
    used_spaces,
)
from clipmodel_operator.rendering.revision import render_revision
from clipmodel_operator.rendering.settings import RenderSettings

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """Where the operator would bring the cluster to."""

    objects: tuple[Manifest, ...]
    """All that is applied and follows from the spec: not what is remembered of attempts."""
    jobs: tuple[Manifest, ...]
    """Jobs to create, for versions that are not on the volume."""
    removed_jobs: tuple[str, ...]
    before: tuple[int, ...]
    """Versions that serve now."""
    serving: tuple[int, ...]
    """Versions that would serve in the end."""
    unproven: tuple[int, ...]
    """Versions of the spec without golden vectors: they are fetched and proven first."""
    refused: Mapping[int, str]
    """Versions that may not follow what serves, and why."""
    other_bytes: tuple[int, ...]
    """Versions that are on the volume with another digest: their Jobs will refuse."""
    strategy: UpdateStrategy
    """How pods would be replaced."""


def plan_expected(
    model: ClipModel, observed: Observed, settings: RenderSettings, *, secret_name: str, now: datetime
) -> Expected:
    """Plan as the operator would, and as if every sync had succeeded. `secret_name`: of the control key."""
    # The servers are not asked here; what status says of them counts where the commit is lost, as it does in a pass.
    assessed = assess_versions(model, observed, settings, now=now)
    present = plan_versions(model, assessed, failures={}, served=served_versions(model, ()))
    rollout = _rollout_in_the_end(model, present)
    strategy = choose_strategy(model, observed, now=now)
    on_volume = {r.version: r.sha256 for r in present.before.records}
    kept = jobs_to_keep(present.versions, present.jobs)
    missing = {SyncPhase.NO_JOB, SyncPhase.START_OVER}
    return Expected(
        objects=plan_objects(
            model,
            settings,
            rollout=rollout,
            secret_name=secret_name,
            strategy=strategy,
            # What is remembered of attempts follows from no spec.
            observed=replace(observed, rollout_map=None),
        ),
        jobs=tuple(present.jobs[v.number] for v in present.versions if v.phase in missing),
        removed_jobs=tuple(job_name(job) for job in observed.jobs if job_name(job) not in kept),
        before=present.before.versions,
        serving=rollout.ledger.versions,
        unproven=tuple(sorted(v.number for v in present.versions if v.record is None)),
        refused=_refusals(present),
        other_bytes=tuple(
            v.version for v in model.spec.versions if on_volume.get(v.version, v.source.sha256) != v.source.sha256
        ),
        strategy=strategy,
    )


def _refusals(plan: VersionsPlan) -> dict[int, str]:
    """Say why versions that are on the volume may not serve."""
    return {v.number: v.failure.message for v in plan.versions if v.record is not None and v.failure is not None}


def _rollout_in_the_end(model: ClipModel, present: VersionsPlan) -> RolloutPlan:
    """Give what would be committed when all that can be synced is, and pods have taken it."""
    numbers = [v.number for v in present.versions]
    target = plan_target(
        model.spec.version_policy,
        versions=numbers,
        usable=[n for n in numbers if n not in _refusals(present)],
        committed=present.before.versions,
    ).versions
    if not target:
        return RolloutPlan(Ledger(), RolloutRecord(), None)
    before = present.before
    kept = {(v, d) for r in before.revisions for v, d in r.digests.items()}
    known = {r.version: r for r in present.records if r.version in {*numbers, *target} or (r.version, r.sha256) in kept}
    synced = {v.number for v in present.versions if v.record is not None}
    known |= {v.version: _placeholder_record(v) for v in model.spec.versions if v.version not in synced}
    records = tuple(known[number] for number in sorted(known))
    spaces = used_spaces(records, before.spaces, min_cosine=model.spec.verification.min_cosine)
    revision = render_revision(model, {v: known[v].sha256 for v in target})
    proven, previous, slot = before.proven, before.previous, before.slot
    if proven is not None and proven.id != revision.id:
        previous = proven
        if must_replace(model, proven, revision):
            slot = "" if slot else names.SLOT_B
    ledger = Ledger(revision, revision, previous, slot, records, spaces)
    return RolloutPlan(ledger, RolloutRecord(), revision)


def _placeholder_record(version: ModelVersion) -> VersionRecord:
    """Stand in for what the sync Job would report."""
    vector = golden.encode_vector((1.0,))
    return VersionRecord(version.version, version.source.sha256, size_bytes=0, signature="{}", vectors=(vector,))
