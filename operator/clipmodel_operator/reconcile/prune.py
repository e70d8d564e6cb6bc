"""Delete Jobs of sources that the spec no longer has, and those that must start over."""

from __future__ import annotations

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models import names
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.ownership import is_owned_by
from clipmodel_operator.models.resources import JOBS, PODS
from clipmodel_operator.planning.objects import Desired
from clipmodel_operator.reconcile.apply import ObjectStore
from clipmodel_operator.runtime.cache import ObjectCache


async def prune(store: ObjectStore, cache: ObjectCache, model: ClipModel, desired: Desired, observed: Observed) -> bool:
    """Delete Jobs of sources that the spec no longer has, and those that must start over. Confirmed by a live read: the cache may be behind.

    Gives whether something was deleted.
    """
    pruned = False
    for job in observed.jobs:
        name = job["metadata"]["name"]
        if name in desired.kept_jobs:
            continue
        if name in desired.restarted_jobs and await _has_missed_pods(store, cache, model, observed):
            return True
        live = await store.get_object(JOBS, model.key.namespace, name)
        if live is not None and not is_owned_by(live, model.uid):
            continue
        if live is not None and live["metadata"]["uid"] != job["metadata"].get("uid"):
            # A late event had brought back a Job that is gone: the one of its name that is there now may be doing well.
            cache.put(JOBS.kind, live)
            return True
        if live is not None:
            await store.delete_object(JOBS, model.key.namespace, name, uid=live["metadata"]["uid"])
        cache.remove(JOBS.kind, job)
        pruned = True
    return pruned


async def _has_missed_pods(store: ObjectStore, cache: ObjectCache, model: ClipModel, observed: Observed) -> bool:
    """Look whether pods say more than this pass has seen: a Job's end can be heard of before its pod's report, and then the Job is fine.

    Compared with what the pass gathered, not with the cache: the report may have reached the cache while the pass was waiting for something else.
    """
    selector = f"{names.LABEL_MODEL}={model.key.name}"
    seen = {p["metadata"]["name"]: p["metadata"]["resourceVersion"] for p in observed.sync_pods}
    has_missed = False
    for pod in await store.list_objects(PODS, namespace=model.key.namespace, label_selector=selector):
        cache.put(PODS.kind, pod)
        if pod["metadata"]["labels"].get(names.LABEL_COMPONENT) != names.COMPONENT_SYNC:
            continue
        has_missed |= seen.get(pod["metadata"]["name"]) != pod["metadata"]["resourceVersion"]
    return has_missed
