"""What would the operator make of a ClipModel, given what is in the cluster? Pure: the operator's own planning and rendering, asked what it would end with.

Two things are made in the cluster only, and are stood in for: golden vectors of versions that are not synced yet, and the control key, which is
derived from the operator's root key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from clipmodel_operator.assessment.rollout import plan_target
from clipmodel_operator.assessment.sync import SyncPhase
from clipmodel_operator.models import names
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.facts import Observed
from clipmodel_operator.models.resources import DEPLOYMENTS
from clipmodel_operator.models.rolling import RollingStrategy
from clipmodel_operator.offline import placeholder_record
from clipmodel_operator.reconcile.apply import with_hash
from clipmodel_operator.reconcile.desired import VersionPlan, plan_desired, plan_versions
from clipmodel_operator.rendering.config_map import Committed, render_config_map
from clipmodel_operator.rendering.deployment import with_template_hash
from clipmodel_operator.rendering.settings import RenderSettings

Manifest = dict[str, Any]
_STAND_IN_KEY = "0" * 64


@dataclass(frozen=True, slots=True)
class Expected:
    """Where the operator would bring the cluster to."""

    objects: tuple[Manifest, ...]
    """All that is applied, complete with the hash of what is rendered."""
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
    secret_name: str | None
    """Of the control key; None where it is not known before it is made."""
    strategy: RollingStrategy
    """How pods would be replaced."""


def _secret_in_use(deployment: Mapping[str, Any] | None) -> str | None:
    """Read which Secret the Deployment's control key comes from."""
    if deployment is None:
        return None
    for container in deployment["spec"]["template"]["spec"].get("containers") or ():
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
            if variable.get("name") == "CLIPMODEL_CONTROL_KEY" and reference.get("name"):
                return str(reference["name"])
    return None


def plan_expected(model: ClipModel, observed: Observed, settings: RenderSettings, *, now: datetime) -> Expected:
    """Plan as the operator would, and as if every sync had succeeded."""
    present = plan_versions(model, observed, settings, failures={}, now=now)
    numbers = [p.number for p in present.plans]
    known = {p.number for p in present.plans if p.sync.record is not None}
    refused = {p.number: p.refusal.message for p in present.plans if p.refusal is not None}
    usable = [n for n in numbers if n not in refused]
    target = plan_target(model.spec.version_policy, versions=numbers, usable=usable, committed=present.before.versions)
    records = [r for r in present.records if r.version in {*numbers, *target.versions}]
    records += [placeholder_record(v) for v in model.spec.versions if v.version not in known]
    committed = Committed(target.versions, tuple(records), present.before.spaces)
    # As if it were committed already: then planning renders it, and refuses nothing for want of proof.
    synced = replace(observed, config_map=render_config_map(model, committed)) if target.versions else observed
    versions = plan_versions(model, synced, settings, failures={}, now=now)
    desired = plan_desired(
        model, synced, versions, (), settings, control_key=_STAND_IN_KEY, config_failure=None, now=now
    )
    secret = _secret_in_use(observed.deployment)
    stand_in = names.secret_name(model.key.name, _STAND_IN_KEY)
    objects = tuple(with_hash(_renamed(o, stand_in, secret) if secret else o) for o in desired.applied)
    on_volume = {r.version: r.sha256 for r in present.before.records}
    return Expected(
        objects=objects,
        jobs=tuple(p.job for p in present.plans if p.sync.phase in {SyncPhase.NO_JOB, SyncPhase.START_OVER}),
        removed_jobs=tuple(
            str(job["metadata"]["name"])
            for job in observed.jobs
            if not _is_kept(job["metadata"]["name"], present.plans)
        ),
        before=present.before.versions,
        serving=target.versions,
        unproven=tuple(n for n in sorted(numbers) if n not in known),
        refused=refused,
        other_bytes=tuple(
            v.version for v in model.spec.versions if on_volume.get(v.version, v.source.sha256) != v.source.sha256
        ),
        secret_name=secret,
        strategy=desired.strategy,
    )


def _is_kept(job: str, plans: tuple[VersionPlan, ...]) -> bool:
    return any(p.job["metadata"]["name"] == job and p.sync.phase is not SyncPhase.START_OVER for p in plans)


def _renamed(manifest: Manifest, old: str, new: str) -> Manifest:
    renamed: Manifest = json.loads(json.dumps(manifest).replace(json.dumps(old), json.dumps(new)))
    if renamed["kind"] != DEPLOYMENTS.kind:
        return renamed
    spec = renamed["spec"]
    return {**renamed, "spec": {**spec, "template": with_template_hash(spec["template"])}}
