"""Every version of the spec: how far it is, why it may not serve, and which should serve.

Two steps, for the pods are asked between them: `assess_versions` finds the records that pods are compared with, `plan_versions` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clipmodel_contract.report import Failure, VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.rollout import Target, check_space, choose, plan_target, space_ids
from clipmodel_operator.assessment.sync import assess_sync
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.ownership import is_owned_by
from clipmodel_operator.models.spaces import EmbeddingSpace, find_space, with_spaces
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.planning.jobs import Manifest, job_name, plan_jobs
from clipmodel_operator.rendering.config_map import read_ledger
from clipmodel_operator.rendering.rollout_map import read_rollout
from clipmodel_operator.rendering.settings import RenderSettings


@dataclass(frozen=True, slots=True)
class AssessedVersions:
    """How far every version of the spec is, before anything is decided."""

    versions: tuple[Version, ...]
    """Of the spec, highest first."""
    jobs: Mapping[int, Manifest]
    """The Job of each version of the spec."""
    before: Ledger
    """What the ConfigMap says."""
    records: tuple[VersionRecord, ...]
    """Of versions that are on the volume, lowest first: those of the spec, and those of a revision and in the spec no longer."""


@dataclass(frozen=True, slots=True)
class VersionsPlan:
    """All versions of the spec, and which should serve."""

    versions: tuple[Version, ...]
    """Of the spec, highest first."""
    leaving: tuple[Version, ...]
    """Those that serve and are in the spec no longer."""
    jobs: Mapping[int, Manifest]
    before: Ledger
    records: tuple[VersionRecord, ...]
    spaces: tuple[EmbeddingSpace, ...]
    target: Target


def assess_versions(
    model: ClipModel, observed: Observed, settings: RenderSettings, *, now: datetime
) -> AssessedVersions:
    """Look at every version of the spec."""
    before, jobs = read_ledger(observed.config_map), plan_jobs(model, observed, settings)
    versions = []
    for version in sorted(model.spec.versions, key=lambda v: v.version, reverse=True):
        current = _find(observed.jobs, job_name(jobs[version.version]))
        pods = _pods_of(current, observed.sync_pods)
        versions.append(assess_sync(version, committed=before.records, job=current, pods=pods, now=now))
    fresh = {v.number: v.record for v in versions if v.record is not None}
    # A version of a revision is still needed, whether the spec has it or not: pods may start with it.
    attempt = read_rollout(observed.rollout_map).attempt
    revisions = (*before.revisions, *([attempt.target] if attempt is not None else ()))
    kept = {(v, digest) for revision in revisions for v, digest in revision.digests.items()}
    still = {r.version: r for r in before.records if (r.version, r.sha256) in kept}
    records = tuple(sorted({**still, **fresh}.values(), key=lambda r: r.version))
    return AssessedVersions(tuple(versions), jobs, before, records)


def served_versions(model: ClipModel, views: Sequence[PodView]) -> tuple[int, ...]:
    """Name what serves by what the servers say, and by what status said last: for when the commit is lost."""
    said = {v for view in views if view.loaded for v in view.loaded.versions}
    return tuple(sorted(said.union(model.status.serving_versions)))


def used_spaces(
    records: Sequence[VersionRecord], spaces: Sequence[EmbeddingSpace], *, min_cosine: float
) -> tuple[EmbeddingSpace, ...]:
    """Give the anchors of all records. An anchor stays for as long as any version is of its space."""
    known = with_spaces(records, spaces, min_cosine=min_cosine)
    used = {space.id for r in records if (space := find_space(r, known, min_cosine=min_cosine))}
    return tuple(s for s in known if s.id in used)


def plan_versions(
    model: ClipModel,
    assessed: AssessedVersions,
    *,
    failures: Mapping[int, Failure],
    served: Sequence[int] = (),
) -> VersionsPlan:
    """Decide which versions should serve. `failures` are of versions that pods did not take, by the present settings and template.

    `served` counts where nothing is committed: a ConfigMap that was lost or edited must not open the way into another embedding space.
    """
    before, records = assessed.before, assessed.records
    min_cosine = model.spec.verification.min_cosine
    spaces = used_spaces(records, before.spaces, min_cosine=min_cosine)
    serving = [r for r in records if r.version in (before.versions or served)]
    # Until the volume has told of what serves, nothing can be compared with it.
    is_unknown = not before.versions and any(v.number in served and v.record is None for v in assessed.versions)
    chosen = choose(model.spec.version_policy, [v.version for v in model.spec.versions])
    ids = space_ids(records, spaces, min_cosine=min_cosine)

    def judge(version: Version) -> Version:
        record = version.record
        if record is None:
            return version
        refusal = None
        if record not in serving and version.number in chosen:
            refusal = failures.get(version.number) or check_space(model, record, spaces=spaces, serving=serving)
        return replace(version, failure=refusal, space_id=ids.get(version.number))

    versions = tuple(judge(v) for v in assessed.versions)
    in_spec = {v.number for v in versions}
    leaving = tuple(
        Version(r.version, SyncPhase.DONE, record=r, space_id=ids.get(r.version))
        for r in records
        if r.version not in in_spec and r.version in before.versions
    )
    target = plan_target(
        model.spec.version_policy,
        versions=[v.number for v in versions],
        usable=[v.number for v in versions if v.is_usable and (v.number in served or not is_unknown)],
        committed=[r.version for r in serving],
    )
    return VersionsPlan(versions, leaving, assessed.jobs, before, records, spaces, target)


def _find(objects: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((o for o in objects if o["metadata"]["name"] == name), None)


def _pods_of(job: Mapping[str, Any] | None, pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if job is None:
        return []
    return [p for p in pods if is_owned_by(p, job["metadata"]["uid"])]
