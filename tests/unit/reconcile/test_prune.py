"""Deleting a Job that is to start over: confirmed by what is there now, for the pass that decided it may be behind (found by `make bench-scale`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.ownership import owner_of
from clipmodel_operator.models.resources import JOBS, PODS, Resource
from clipmodel_operator.planning.objects import Desired
from clipmodel_operator.reconcile.apply import ObjectStore
from clipmodel_operator.reconcile.prune import prune
from clipmodel_operator.runtime.cache import ObjectCache
from support.builders import NAME, NAMESPACE, UID, build_job, build_model, build_report, build_sync_pod

Object = dict[str, Any]


class Store:
    """What is there now; says what was deleted."""

    def __init__(self, *objects: Object) -> None:
        self.objects = objects
        self.deleted: list[str] = []

    async def get_object(self, _resource: Resource, _namespace: str, name: str) -> Object | None:
        return next((o for o in self.objects if o["metadata"]["name"] == name), None)

    async def list_objects(self, resource: Resource, **_: Any) -> list[Object]:
        return [o for o in self.objects if o["kind"] == resource.kind]

    async def delete_object(self, _resource: Resource, _namespace: str, _name: str, *, uid: str) -> None:
        self.deleted.append(uid)


def job(uid: str = "uid-job") -> Object:
    made = build_job(complete=True, uid=uid)
    made["metadata"] |= {"resourceVersion": "7", "ownerReferences": [{"uid": UID}]}
    return made


def pod(resource_version: str, **fields: Any) -> Object:
    made = build_sync_pod(**fields)
    made["metadata"]["resourceVersion"] = resource_version
    return made


async def pruned(store: Store, *, seen: tuple[Object, Object], cached: tuple[Object, ...]) -> tuple[bool, ObjectCache]:
    """Prune after a pass that saw a Job and a pod, and found that the Job must start over; give the cache as it is then."""
    seen_job, seen_pod = seen
    cache = ObjectCache(owner_of)
    for obj in cached:
        cache.put(obj["kind"], obj)
    observed = Observed(jobs=(seen_job,), sync_pods=(seen_pod,))
    name = seen_job["metadata"]["name"]
    desired = cast(Desired, SimpleNamespace(kept_jobs=frozenset(), restarted_jobs=frozenset({name})))
    return await prune(cast(ObjectStore, store), cache, build_model(name=NAME), desired, observed), cache


async def test_a_job_whose_report_is_really_lost_is_deleted() -> None:
    lost = pod("3")
    store = Store(job(), lost)
    again, _ = await pruned(store, seen=(job(), lost), cached=(job(), lost))
    assert again
    assert store.deleted == ["uid-job"]


@pytest.mark.parametrize("is_in_cache", [False, True], ids=["not heard of yet", "heard of while the pass was waiting"])
async def test_a_report_that_came_after_the_pass_had_looked_saves_the_job(*, is_in_cache: bool) -> None:
    before, after = pod("3"), pod("5", report=build_report())
    store = Store(job(), after)
    again, cache = await pruned(store, seen=(job(), before), cached=(job(), after if is_in_cache else before))
    assert again, "the next pass reads the report"
    assert store.deleted == []
    assert cache.get(PODS.kind, NAMESPACE, after["metadata"]["name"]) == after


async def test_a_job_made_anew_under_the_name_is_not_deleted_for_the_old_one() -> None:
    lost = pod("3")
    store = Store(job(uid="uid-new"), lost)
    again, cache = await pruned(store, seen=(job(), lost), cached=(job(), lost))
    assert again
    assert store.deleted == []
    found: Mapping[str, Any] | None = cache.get(JOBS.kind, NAMESPACE, "job")
    assert found is not None
    assert found["metadata"]["uid"] == "uid-new"
