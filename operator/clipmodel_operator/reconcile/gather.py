"""What a pass starts from: one ClipModel's children, out of the cache."""

from __future__ import annotations

from clipmodel_operator.models import names
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.resources import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, JOBS, PODS, SERVICES
from clipmodel_operator.runtime.cache import ObjectCache


def gather(cache: ObjectCache, key: Key) -> Observed:
    """Give what the cache has of a ClipModel."""
    namespace, name = key
    return Observed(
        claim=cache.get(CLAIMS.kind, namespace, names.claim_name(name)),
        config_map=cache.get(CONFIG_MAPS.kind, namespace, names.config_map_name(name)),
        second_slot=cache.get(CONFIG_MAPS.kind, namespace, names.config_map_name(name, slot=names.SLOT_B)),
        rollout_map=cache.get(CONFIG_MAPS.kind, namespace, names.rollout_map_name(name)),
        deployment=cache.get(DEPLOYMENTS.kind, namespace, name),
        service=cache.get(SERVICES.kind, namespace, name),
        jobs=tuple(cache.owned(JOBS.kind, key)),
    ).with_pods(cache.owned(PODS.kind, key))
