"""From a ClipModel and what is observed to the objects that should be: pure, though it stands above rendering and assessment to join them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.assessment.sync import SyncAssessment, SyncPhase, assess_sync
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.facts import Observed
from clipmodel_operator.models.records import VersionRecord
from clipmodel_operator.rendering.canonical import content_hash, without_none
from clipmodel_operator.rendering.claim import render_claim
from clipmodel_operator.rendering.config_map import config_key, read_records, render_config_map
from clipmodel_operator.rendering.control_key import render_control_secret
from clipmodel_operator.rendering.deployment import render_deployment
from clipmodel_operator.rendering.service import render_service
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.rendering.sync_job import render_sync_job

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be, and what follows for this pass."""

    sync: SyncAssessment
    job: Manifest
    """The Job of the version in the spec; made only while `sync` needs one, and kept for its log."""
    applied: tuple[Manifest, ...]
    """Objects to apply where they differ, in this order."""
    secret: Manifest | None
    """Made before the pods that read it; never read back."""
    records: tuple[VersionRecord, ...]
    """The versions that are committed: none before the first sync."""
    config_hash: str | None


def _node_in_use(observed: Observed) -> str | None:
    """Name the node that has the claim mounted: a ReadWriteOnce volume can be mounted nowhere else. None where no pod holds it."""
    nodes = (p.get("spec", {}).get("nodeName") for p in observed.server_pods if not is_ending(p))
    return next((n for n in nodes if n), None)


def _find(objects: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((o for o in objects if o["metadata"]["name"] == name), None)


def _pods_of(job: Mapping[str, Any] | None, pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if job is None:
        return []
    uid = job["metadata"].get("uid")
    return [p for p in pods if any(o.get("uid") == uid for o in p["metadata"].get("ownerReferences") or ())]


def plan_desired(
    model: ClipModel, observed: Observed, settings: RenderSettings, *, control_key: str, now: datetime
) -> Desired:
    """Decide what should be. The spec's version is committed once it is synced; until then what was committed stays."""
    version = model.spec.versions[0]
    is_bound = observed.claim is not None and (observed.claim.get("status") or {}).get("phase") == "Bound"
    job = render_sync_job(model, version, settings, binds_volume=not is_bound, node=_node_in_use(observed))
    current = _find(observed.jobs, job["metadata"]["name"])
    committed = read_records(observed.config_map)
    sync = assess_sync(version, committed=committed, job=current, pods=_pods_of(current, observed.sync_pods), now=now)
    records = (sync.record,) if sync.phase is SyncPhase.DONE and sync.record else committed
    applied = [render_claim(model)]
    secret, config_hash = None, None
    if records:
        config_map = render_config_map(model, records)
        config_hash = content_hash({
            "config": config_map["data"][config_key(model.spec.profile.value)],
            "versions": {r.version: r.sha256 for r in records},
        })  # fmt: skip
        secret = render_control_secret(model, control_key)
        applied += [
            config_map,
            render_service(model),
            render_deployment(
                model,
                settings,
                versions=[r.version for r in records],
                config_hash=config_hash,
                control_secret=secret["metadata"]["name"],
            ),
        ]
    return Desired(
        sync=sync,
        job=without_none(job),
        applied=tuple(without_none(manifest) for manifest in applied),
        secret=without_none(secret),
        records=records,
        config_hash=config_hash,
    )
