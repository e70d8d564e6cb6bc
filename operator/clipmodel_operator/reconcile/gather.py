"""What a pass starts from: one ClipModel's children, out of the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_operator.models import names
from clipmodel_operator.models.facts import Observed
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.resources import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, JOBS, PODS, SERVICES
from clipmodel_operator.runtime.cache import ObjectCache


def owner_of(kind: str, obj: Mapping[str, Any]) -> Key | None:
    """Name the ClipModel of an object: itself, or the one that our label names."""
    metadata = obj["metadata"]
    if kind == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    labels = metadata.get("labels") or {}
    name = labels.get(names.LABEL_MODEL)
    return (
        Key(metadata["namespace"], name) if name and labels.get(names.LABEL_MANAGED_BY) == names.FIELD_MANAGER else None
    )


def gather(cache: ObjectCache, key: Key) -> Observed:
    def one(kind: str, name: str) -> Mapping[str, Any] | None:
        return cache.get(kind, key.namespace, name)

    pods = cache.owned(PODS.kind, key)

    def of(component: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(p for p in pods if (p["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT) == component)

    return Observed(
        claim=one(CLAIMS.kind, names.claim_name(key.name)),
        config_map=one(CONFIG_MAPS.kind, names.config_map_name(key.name)),
        deployment=one(DEPLOYMENTS.kind, key.name),
        service=one(SERVICES.kind, key.name),
        jobs=tuple(cache.owned(JOBS.kind, key)),
        sync_pods=of(names.COMPONENT_SYNC),
        server_pods=of(names.COMPONENT_SERVER),
    )
