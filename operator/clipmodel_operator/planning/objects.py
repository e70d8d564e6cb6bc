"""The objects that should be: what a ClipModel becomes, given what is committed and what is attempted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clipmodel_contract.report import VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.rollout import RolloutStrategy
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.assessment.pods import slot_of
from clipmodel_operator.assessment.template import is_rolling, template_of
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import FailedAttempt, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.adoption import was_left_midway, with_unknown_attempt
from clipmodel_operator.planning.control_secret import must_make_secret
from clipmodel_operator.planning.failures import (
    as_failure,
    failing_versions,
    failure_of,
    with_near_deadlines,
    with_retry,
)
from clipmodel_operator.planning.jobs import jobs_to_create, jobs_to_keep, jobs_to_restart
from clipmodel_operator.planning.profile import with_profile
from clipmodel_operator.planning.rollout import plan_rollout
from clipmodel_operator.planning.situation import RolloutPlan, Situation
from clipmodel_operator.planning.update_strategy import choose_strategy
from clipmodel_operator.planning.versions import AssessedVersions, VersionsPlan, plan_versions, served_versions
from clipmodel_operator.rendering.canonical import without_none
from clipmodel_operator.rendering.claim import render_claim
from clipmodel_operator.rendering.config_map import mounted_files, render_config_map, render_slot
from clipmodel_operator.rendering.deployment import render_deployment, template_hash
from clipmodel_operator.rendering.read_config import recover_config
from clipmodel_operator.rendering.revision import build_revision, render_revision
from clipmodel_operator.rendering.rollout_map import read_rollout, render_rollout_map
from clipmodel_operator.rendering.service import render_service
from clipmodel_operator.rendering.settings import RenderSettings

Manifest = dict[str, Any]


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
    """To be made before the pods that read it, where it may be missing; never read back."""
    rollout: RolloutPlan
    """What is committed and attempted after this pass, and what is done on pods."""
    failure: FailedAttempt | None
    """Why the target is not attempted now."""
    failing: tuple[FailedAttempt, ...]
    """Why versions are left out of it."""
    is_news: bool
    """Something else is committed or attempted than before: what follows can be done at once."""
    strategy: UpdateStrategy
    """How pods of another template are replaced."""
    template: str
    """Which pods, and which strategy, failures are remembered of."""

    @property
    def known(self) -> tuple[Revision, ...]:
        """List the revisions that a pod may run; what counts first comes first."""
        attempt = self.rollout.record.attempt
        others = (attempt.target if attempt is not None else None, self.rollout.target)
        found = {r.id: r for r in (*self.rollout.ledger.revisions, *(r for r in others if r is not None))}
        return tuple(found.values())


def plan_desired(
    model: ClipModel,
    observed: Observed,
    assessed: AssessedVersions,
    views: Sequence[PodView],
    settings: RenderSettings,
    *,
    control_secret: Manifest,
    retry: str,
    now: datetime,
    refused_since: datetime | None = None,
    may_replace: bool = True,
) -> Desired:
    """Decide what should be, from what every version and every pod is at.

    `retry`: the user's annotation, empty where there is none. `may_replace`: no pod reads the files that new pods would start with, as far as is known.
    """
    secret_name = str(control_secret["metadata"]["name"])
    template = _attempted_on(model, template_hash(model, settings, control_secret=secret_name))
    before = read_rollout(observed.rollout_map)
    record = before if model.spec.paused else with_near_deadlines(with_retry(before, retry), now)
    failing = failing_versions(record, assessed.records, settings=_settings_of(model), template=template, now=now)
    versions = plan_versions(
        model,
        assessed,
        failures={v: as_failure(f) for v, f in failing.items()},
        served=served_versions(model, views),
    )
    ledger = replace(_with_bytes(assessed.before, versions.records), records=versions.records, spaces=versions.spaces)
    if ledger.boot is None:
        # Nothing is known: what pods mount stays where they mount it.
        ledger = replace(ledger, slot=slot_of(template_of(observed.deployment)))
    target = target_revision(model, versions)
    if was_left_midway(observed.config_map, model.status, generation=model.generation) and not model.spec.paused:
        record = with_unknown_attempt(record, ledger, target)
    situation = Situation(
        ledger=ledger,
        record=record,
        target=target,
        views=tuple(views),
        template=template,
        is_settled=_is_settled(observed, ledger.slot, model, settings, secret_name),
        is_rolling=not may_replace or is_rolling(observed.deployment, observed.server_pods),
        replaces=must_replace(model, ledger.proven, target),
        recover=lambda view: recover_revision(view, versions.records, min_cosine=model.spec.verification.min_cosine),
        one_copy=_one_copy(model, versions, target),
        is_paused=model.spec.paused,
        now=now,
    )
    rollout = plan_rollout(situation)
    strategy = choose_strategy(model, observed, now=now, refused_since=refused_since)
    needs_secret = rollout.ledger.boot is not None and must_make_secret(control_secret, observed)
    return Desired(
        versions=versions,
        jobs=jobs_to_create(versions.versions, versions.jobs),
        kept_jobs=jobs_to_keep(versions.versions, versions.jobs),
        restarted_jobs=jobs_to_restart(versions.versions, versions.jobs),
        applied=plan_objects(
            model,
            settings,
            rollout=rollout,
            secret_name=secret_name,
            strategy=strategy,
            observed=observed,
        ),
        secret=without_none(control_secret) if needs_secret else None,
        rollout=rollout,
        failure=_failure_of(rollout, template=template, now=now),
        failing=tuple(failing.values()),
        is_news=(rollout.ledger, rollout.record) != (ledger, before),
        strategy=strategy,
        template=template,
    )


def _failure_of(rollout: RolloutPlan, *, template: str, now: datetime) -> FailedAttempt | None:
    """Give why the target is not attempted; what is proven needs no attempt."""
    proven, target = rollout.ledger.proven, rollout.target
    is_proven = proven is not None and target is not None and proven.id == target.id
    return None if is_proven else failure_of(rollout.record, target, template=template, now=now)


def _with_bytes(ledger: Ledger, records: Sequence[VersionRecord]) -> Ledger:
    """Leave out revisions whose bytes are gone: where a volume was lost, other bytes may have been synced under the same number."""
    there = {(r.version, r.sha256) for r in records}

    def kept(revision: Revision | None) -> Revision | None:
        return revision if revision is not None and there >= set(revision.digests.items()) else None

    return replace(ledger, boot=kept(ledger.boot), proven=kept(ledger.proven), previous=kept(ledger.previous))


def target_revision(model: ClipModel, versions: VersionsPlan) -> Revision | None:
    """Give the revision that the spec asks for, as far as its versions can serve."""
    digests = {r.version: r.sha256 for r in versions.records if r.version in versions.target.versions}
    return render_revision(model, digests) if digests else None


def recover_revision(view: PodView, records: Sequence[VersionRecord], *, min_cosine: float) -> Revision | None:
    """Give the revision of what a pod runs, from what its Triton says of it: for when it is in the ledger no longer."""
    loaded = view.loaded
    if loaded is None or loaded.config is None or loaded.difference is not None:
        return None
    config, known = recover_config(loaded.config), {r.version: r.sha256 for r in records}
    if config is None or any(v not in known for v in loaded.versions):
        return None
    return build_revision({view.profile: config}, {v: known[v] for v in loaded.versions}, min_cosine=min_cosine)


def must_replace(model: ClipModel, proven: Revision | None, target: Revision | None) -> bool:
    """Tell whether the target goes by new pods: as the user asks for, or since new pods could not start with what is proven."""
    profile = model.spec.profile.value
    if proven is None or target is None:
        return False
    if profile not in proven.configs:
        return True
    if (proven.config_ids[profile], proven.digests) == (target.config_ids.get(profile), target.digests):
        return False  # another tolerance: nothing is loaded for it
    if model.spec.rollout.strategy is RolloutStrategy.REPLACE:
        return True
    has = model.spec.serving.gpu.count if model.spec.serving.gpu else 1
    groups = proven.configs[profile].get("instance_group", ())
    return any(gpu >= has for group in groups for gpu in group.get("gpus", ()))


def plan_objects(
    model: ClipModel,
    settings: RenderSettings,
    *,
    rollout: RolloutPlan,
    secret_name: str,
    strategy: UpdateStrategy,
    observed: Observed,
) -> tuple[Manifest, ...]:
    """Render all that is applied, in this order. Without anything to start with that is the volume alone: the first sync goes to it.

    The attempt comes before what it changes, and goes after what it has come to: whoever finds it gone must find that committed. What pods read comes
    before the pods.
    """
    claim = render_claim(model)
    applied = [claim] if claim is not None else []
    ledger = rollout.ledger
    if ledger.boot is not None:
        remembered = []
        if rollout.record != RolloutRecord() or observed.rollout_map is not None:
            remembered.append(render_rollout_map(model, rollout.record))
        first, second = rollout.starts("") if ledger.slot else None, rollout.starts(names.SLOT_B)
        known = [render_config_map(model, ledger, first=first, parked=mounted_files(observed.config_map))]
        # An attempt is written before what it changes, and forgotten after what it has committed.
        applied += [*known, *remembered] if rollout.record.attempt is None else [*remembered, *known]
        if second is not None:
            applied.append(render_slot(model, ledger, names.SLOT_B, second))
        applied += [
            render_service(model),
            render_deployment(
                _startable(model, rollout), settings, control_secret=secret_name, strategy=strategy, slot=rollout.slot
            ),
        ]
    return tuple(without_none(manifest) for manifest in applied)


def _startable(model: ClipModel, rollout: RolloutPlan) -> ClipModel:
    """Give the profile that starting pods find a config of: what was recovered from a pod has that pod's alone. The other comes with the target."""
    starts = rollout.starts(rollout.slot)
    if starts is None or model.spec.profile.value in starts.configs:
        return model
    return with_profile(model, Profile(next(iter(starts.configs))))


def _attempted_on(model: ClipModel, template: str) -> str:
    """Name what failures are of beside the revision: pods of a template, and how they get it. Memory that did not hold two copies may hold one."""
    strategy = model.spec.rollout.strategy
    return template if strategy is RolloutStrategy.IN_PLACE else f"{template}/{strategy.value}"


def _settings_of(model: ClipModel) -> str:
    """Give the hash of the settings of whatever revision the spec asks for."""
    return render_revision(model, {1: ""}).settings


def _is_settled(observed: Observed, slot: str, model: ClipModel, settings: RenderSettings, secret_name: str) -> bool:
    """Tell whether all pods are of the template that the spec asks for."""
    if observed.deployment is None:
        return True
    has = (template_of(observed.deployment).get("metadata") or {}).get("annotations") or {}
    wanted = template_hash(model, settings, control_secret=secret_name, slot=slot)
    return has.get(names.ANNOTATION_TEMPLATE) == wanted and not is_rolling(observed.deployment, observed.server_pods)


def _one_copy(model: ClipModel, versions: VersionsPlan, target: Revision | None) -> str:
    """Say what is known of memory, and what to do about it."""
    sizes = {r.version: r.size_bytes for r in versions.records}
    weights = sum(sizes.get(v, 0) for v in target.versions) if target is not None else 0
    limit = (model.spec.serving.resources.limits or {}).get("memory")
    now = f"now {limit}" if limit else "of which there is none"
    other = "" if model.spec.rollout.strategy is RolloutStrategy.REPLACE else ", or set rollout.strategy to Replace"
    return f"raise serving.resources.limits.memory ({now}){other}. A copy is {weights / 2**20:.0f} MiB of weights."
