"""From a ClipModel and what is observed to the objects that should be: pure, though it stands above rendering and assessment to join them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clipmodel_contract.report import Failure, VersionRecord
from clipmodel_operator.assessment.pods import find_trouble, is_ending, is_ready
from clipmodel_operator.assessment.rolling import choose_strategy
from clipmodel_operator.assessment.rollout import Target, check_space, choose, plan_target
from clipmodel_operator.assessment.sync import SyncAssessment, SyncPhase, assess_sync
from clipmodel_operator.models.api import ModelVersion, Profile
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.facts import Observed, PodView, RolloutFailure
from clipmodel_operator.models.rolling import RollingStrategy
from clipmodel_operator.models.spaces import EmbeddingSpace, find_space, with_spaces
from clipmodel_operator.rendering.canonical import without_none
from clipmodel_operator.rendering.claim import render_claim
from clipmodel_operator.rendering.config_map import Committed, read_committed, render_config_map
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config
from clipmodel_operator.rendering.control_key import render_control_secret
from clipmodel_operator.rendering.deployment import render_deployment
from clipmodel_operator.rendering.service import render_service
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.rendering.sync_job import render_sync_job

Manifest = dict[str, Any]

# Each Job holds one version in memory to prove it, and shares the source's bandwidth.
_JOBS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class VersionPlan:
    """One version of the spec: how far its sync is, and why it may not serve although it is synced."""

    sync: SyncAssessment
    job: Manifest
    refusal: Failure | RolloutFailure | None = None

    @property
    def number(self) -> int:
        return self.sync.version.version

    @property
    def is_usable(self) -> bool:
        return self.sync.phase is SyncPhase.DONE and self.refusal is None


@dataclass(frozen=True, slots=True)
class VersionsPlan:
    """All versions of the spec, and which should serve."""

    plans: tuple[VersionPlan, ...]
    before: Committed
    """What the ConfigMap says."""
    records: tuple[VersionRecord, ...]
    spaces: tuple[EmbeddingSpace, ...]
    target: Target

    def record_of(self, version: int) -> VersionRecord | None:
        return next((r for r in self.records if r.version == version), None)


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be, and what follows for this pass."""

    versions: VersionsPlan
    jobs: tuple[Manifest, ...]
    """Jobs to create now."""
    kept_jobs: frozenset[str]
    """Names of Jobs that stay: those that work, and those that ended, for their logs."""
    restarted_jobs: frozenset[str]
    """Names of Jobs that ended and can tell nothing: deleted, and made again."""
    applied: tuple[Manifest, ...]
    """Objects to apply where they differ, in this order."""
    secret: Manifest | None
    """Made before the pods that read it; never read back."""
    committed: Committed
    """What the ConfigMap says after this pass: nothing before the first sync."""
    pending: tuple[PodView, ...]
    """Ready pods that do not run what they should: the target, or (where the target failed) what is committed."""
    strategy: RollingStrategy
    """How pods of another template are replaced."""


def _node_in_use(observed: Observed) -> str | None:
    """Name the node that has the claim mounted: a ReadWriteOnce volume can be mounted nowhere else. None where no pod holds it."""
    nodes = (p.get("spec", {}).get("nodeName") for p in observed.server_pods if not is_ending(p))
    return next((n for n in nodes if n), None)


def _is_bound(model: ClipModel, observed: Observed) -> bool:
    """Tell whether the claim has its volume already. The user's own claim is not ours to look at: it has one when pods have run on it."""
    if model.spec.storage.existing_claim is not None:
        return observed.deployment is not None
    return observed.claim is not None and (observed.claim.get("status") or {}).get("phase") == "Bound"


def _find(objects: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((o for o in objects if o["metadata"]["name"] == name), None)


def _pods_of(job: Mapping[str, Any] | None, pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if job is None:
        return []
    uid = job["metadata"].get("uid")
    return [p for p in pods if any(o.get("uid") == uid for o in p["metadata"].get("ownerReferences") or ())]


def served_versions(model: ClipModel, views: Sequence[PodView]) -> tuple[int, ...]:
    """Name what serves by what the servers say, and by what status said last: for when the commit is lost."""
    said = {v for view in views if view.loaded for v in view.loaded.versions}
    return tuple(sorted(said.union(model.status.serving_versions)))


def plan_versions(
    model: ClipModel,
    observed: Observed,
    settings: RenderSettings,
    *,
    failures: Mapping[int | None, RolloutFailure],
    now: datetime,
    served: Sequence[int] = (),
) -> VersionsPlan:
    """Look at every version of the spec, and decide which should serve. `failures` are those of earlier rollouts of this generation.

    `served` counts where nothing is committed: a ConfigMap that was lost or edited must not open the way into another embedding space.
    """
    before = read_committed(observed.config_map)
    is_bound = _is_bound(model, observed)
    node = _node_in_use(observed) if model.spec.storage.is_on_one_node else None

    def look(version: ModelVersion) -> tuple[SyncAssessment, Manifest]:
        job = render_sync_job(model, version, settings, binds_volume=not is_bound, node=node)
        current = _find(observed.jobs, job["metadata"]["name"])
        pods = _pods_of(current, observed.sync_pods)
        return assess_sync(version, committed=before.records, job=current, pods=pods, now=now), without_none(job)

    looked = [look(v) for v in sorted(model.spec.versions, key=lambda v: v.version, reverse=True)]
    fresh = {sync.record.version: sync.record for sync, _ in looked if sync.record is not None}
    # A version that serves and is in the spec no longer is still needed until another takes over.
    still = {r.version: r for r in before.records if r.version in before.versions}
    records = tuple(sorted({**still, **fresh}.values(), key=lambda r: r.version))
    min_cosine = model.spec.verification.min_cosine
    spaces = with_spaces(records, before.spaces, min_cosine=min_cosine)
    # An anchor stays for as long as any version is of its space.
    used = {space.id for r in records if (space := find_space(r, spaces, min_cosine=min_cosine))}
    spaces = tuple(s for s in spaces if s.id in used)
    serving = [r for r in records if r.version in (before.versions or served)]
    # Until the volume has told of what serves, nothing can be compared with it.
    is_unknown = not before.versions and any(s.version.version in served and s.record is None for s, _ in looked)

    chosen = choose(model.spec.version_policy, [v.version for v in model.spec.versions])

    def refuse(sync: SyncAssessment) -> Failure | RolloutFailure | None:
        if sync.record is None or sync.record in serving or sync.version.version not in chosen:
            return None
        failed = failures.get(sync.record.version)
        return failed or check_space(model, sync.record, spaces=spaces, serving=serving)

    plans = tuple(VersionPlan(sync, job, refuse(sync)) for sync, job in looked)
    target = plan_target(
        model.spec.version_policy,
        versions=[p.number for p in plans],
        usable=[p.number for p in plans if p.is_usable and (p.number in served or not is_unknown)],
        committed=[r.version for r in serving],
    )
    return VersionsPlan(plans, before, records, spaces, target)


def runs(model: ClipModel, view: PodView, versions: Sequence[int]) -> bool:
    """Tell whether a pod serves exactly `versions` by the current spec, and has proven it."""
    if not versions or view.loaded is None or view.loaded.difference is not None:
        return False
    config = render_config(model, versions=versions, profile=Profile(view.profile))
    return view.loaded.config_id == config_id(config)


def plan_desired(
    model: ClipModel,
    observed: Observed,
    versions: VersionsPlan,
    views: Sequence[PodView],
    settings: RenderSettings,
    *,
    control_key: str,
    config_failure: RolloutFailure | None,
    now: datetime,
    refused_since: datetime | None = None,
) -> Desired:
    """Decide what should be, from what every version and every pod is at.

    The target is committed when every ready pod has proven it.
    While a config as a whole is known to fail (`config_failure`), and while the ClipModel is paused, what is committed stays.
    """
    ready = [v for v in views if is_ready(v.pod)]
    wanted = versions.target.versions
    is_proven = all(runs(model, v, wanted) for v in ready) if ready else _may_skip_proof(model, versions.before, views)
    is_paused = model.spec.paused
    is_committable = bool(wanted) and config_failure is None and is_proven and not is_paused
    serving = wanted if is_committable else versions.before.versions
    committed = Committed(serving, versions.records, versions.spaces) if serving else Committed()
    is_still = config_failure is not None or not wanted or is_paused
    behind = [v for v in ready if not runs(model, v, wanted)]
    if wanted == versions.before.versions:
        behind += [v for v in views if not is_ready(v.pod) and _started_too_early(model, v, wanted)]
    pending = () if is_still else tuple(behind)
    claim = render_claim(model)
    applied = [claim] if claim is not None else []
    secret, strategy = None, choose_strategy(model, observed, now=now, refused_since=refused_since)
    if committed.versions:
        secret = render_control_secret(model, control_key)
        deployment = render_deployment(model, settings, control_secret=secret["metadata"]["name"], strategy=strategy)
        applied += [
            _config_map(model, observed, committed, is_committable=is_committable),
            render_service(model),
            deployment,
        ]
    return Desired(
        versions=versions,
        jobs=_jobs_to_create(versions.plans),
        kept_jobs=frozenset(
            p.job["metadata"]["name"] for p in versions.plans if p.sync.phase is not SyncPhase.START_OVER
        ),
        restarted_jobs=frozenset(
            p.job["metadata"]["name"] for p in versions.plans if p.sync.phase is SyncPhase.START_OVER
        ),
        applied=tuple(without_none(manifest) for manifest in applied),
        secret=without_none(secret),
        committed=committed,
        pending=pending,
        strategy=strategy,
    )


def _started_too_early(model: ClipModel, view: PodView, committed: Sequence[int]) -> bool:
    """Tell whether a starting pod read its config before the last commit. Its probe reads the proofs of today's versions, and would wait in vain."""
    if view.loaded is None or is_ending(view.pod):
        return False
    config = render_config(model, versions=committed, profile=Profile(view.profile))
    return view.loaded.config_id != config_id(config)


def _may_skip_proof(model: ClipModel, before: Committed, views: Sequence[PodView]) -> bool:
    """Tell whether a config may be committed although no pod is ready to prove it on: its proof is then the startup probe alone.

    So it is for the first one, where no pod is wanted, and where what is committed does not start anyway. Pods that are merely on their way are
    waited for: what they start with was proven.
    """
    if not before.versions or model.spec.serving.replicas == 0:
        return True
    alive = [v for v in views if not is_ending(v.pod)]
    return bool(alive) and all(
        find_trouble(v.pod) is not None or (v.loaded is not None and v.loaded.difference is not None) for v in alive
    )


def _config_map(model: ClipModel, observed: Observed, committed: Committed, *, is_committable: bool) -> Manifest:
    """Render the ConfigMap. Until the pods have proven the new config, the configs that are committed stay: only records are added."""
    rendered = render_config_map(model, committed)
    if is_committable or observed.config_map is None:
        return rendered
    before = observed.config_map.get("data") or {}
    kept = {k: before[k] for k in before if k.endswith(".pbtxt") and k in rendered["data"]}
    return {**rendered, "data": {**rendered["data"], **kept}}


def _jobs_to_create(plans: Sequence[VersionPlan]) -> tuple[Manifest, ...]:
    """Choose the next Jobs, highest version first."""
    working = sum(1 for p in plans if p.sync.phase in {SyncPhase.RUNNING, SyncPhase.RETRYING})
    missing = [p.job for p in plans if p.sync.phase is SyncPhase.NO_JOB]
    return tuple(missing[: max(0, _JOBS_AT_ONCE - working)])
