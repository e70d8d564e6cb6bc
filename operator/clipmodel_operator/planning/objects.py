"""The objects that should be: what a ClipModel becomes, given what is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.commit import plan_commit
from clipmodel_operator.planning.control_secret import must_make_secret
from clipmodel_operator.planning.jobs import jobs_to_create, jobs_to_keep, jobs_to_restart
from clipmodel_operator.planning.update_strategy import choose_strategy
from clipmodel_operator.planning.versions import AssessedVersions, VersionsPlan, plan_versions, served_versions
from clipmodel_operator.rendering.canonical import without_none
from clipmodel_operator.rendering.claim import render_claim
from clipmodel_operator.rendering.config_map import Committed, render_config_map
from clipmodel_operator.rendering.deployment import render_deployment
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
    committed: Committed
    """What the ConfigMap says after this pass: nothing before the first sync."""
    is_new_config: bool
    """It is the target, by the current spec: no config of this generation fails any more."""
    pending: tuple[PodView, ...]
    """Ready pods that do not run the target."""
    returning: tuple[PodView, ...]
    """Pods that are to be brought back to what is committed: the target is known to fail."""
    strategy: UpdateStrategy
    """How pods of another template are replaced."""


def plan_desired(
    model: ClipModel,
    observed: Observed,
    assessed: AssessedVersions,
    views: Sequence[PodView],
    settings: RenderSettings,
    *,
    control_secret: Manifest,
    failures: Mapping[int | None, Failure],
    now: datetime,
    refused_since: datetime | None = None,
) -> Desired:
    """Decide what should be, from what every version and every pod is at. `failures` are those of earlier rollouts, by version."""
    versions = plan_versions(model, assessed, failures=failures, served=served_versions(model, views))
    commit = plan_commit(model, versions, views, config_failure=failures.get(None))
    strategy = choose_strategy(model, observed, now=now, refused_since=refused_since)
    kept = {} if commit.is_new_config else _stored_configs(observed)
    secret_name = str(control_secret["metadata"]["name"])
    needs_secret = bool(commit.committed.versions) and must_make_secret(control_secret, observed)
    return Desired(
        versions=versions,
        jobs=jobs_to_create(versions.versions, versions.jobs),
        kept_jobs=jobs_to_keep(versions.versions, versions.jobs),
        restarted_jobs=jobs_to_restart(versions.versions, versions.jobs),
        applied=plan_objects(
            model, settings, committed=commit.committed, secret_name=secret_name, strategy=strategy, kept_configs=kept
        ),
        secret=without_none(control_secret) if needs_secret else None,
        committed=commit.committed,
        is_new_config=commit.is_new_config,
        pending=commit.pending,
        returning=commit.returning,
        strategy=strategy,
    )


def plan_objects(
    model: ClipModel,
    settings: RenderSettings,
    *,
    committed: Committed,
    secret_name: str,
    strategy: UpdateStrategy,
    kept_configs: Mapping[str, str],
) -> tuple[Manifest, ...]:
    """Render all that is applied, in this order. Without anything committed that is the volume alone: the first sync goes to it.

    `kept_configs`: entries of the ConfigMap that stay as they are, since the pods have not proven the new ones.
    """
    claim = render_claim(model)
    applied = [claim] if claim is not None else []
    if committed.versions:
        config_map = render_config_map(model, committed)
        kept = {key: text for key, text in kept_configs.items() if key in config_map["data"]}
        applied += [
            {**config_map, "data": {**config_map["data"], **kept}},
            render_service(model),
            render_deployment(model, settings, control_secret=secret_name, strategy=strategy),
        ]
    return tuple(without_none(manifest) for manifest in applied)


def _stored_configs(observed: Observed) -> dict[str, str]:
    data = (observed.config_map or {}).get("data") or {}
    return {key: text for key, text in data.items() if key.endswith(".pbtxt")}
