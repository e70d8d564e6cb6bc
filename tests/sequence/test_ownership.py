"""What is not ours is left alone, and what a ClipModel leaves behind when it is deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clipmodel_operator.models.errors import RejectedError
from clipmodel_operator.models.resources import SERVICES, Resource
from support.builders import NAME, build_spec
from support.simulation import KEY, Simulation, build_ready

SHOP = {"name": NAME, "namespace": "demo", "labels": {"app": "shop"}}
FOREIGN: dict[str, Any] = {
    "PersistentVolumeClaim": {"resources": {"requests": {"storage": "9Gi"}}},
    "Service": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    "Deployment": {"replicas": 0, "template": {"spec": {"containers": []}}},
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_what_somebody_else_has_under_our_name_is_left_alone(kind: str) -> None:
    simulation = Simulation()
    metadata = {**SHOP, "name": f"{NAME}-models" if kind == "PersistentVolumeClaim" else NAME}
    foreign = simulation.cluster.add({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": FOREIGN[kind]})
    simulation.create()
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "ObjectRejected")
    assert f"{kind} clip" in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert simulation.cluster.find(kind) == foreign
    assert sum("refused" in w for w in simulation.cluster.writes) == 1, "from then on it looks first"
    await simulation.assert_converged()
    simulation.cluster.remove(foreign)
    simulation.queue.add(KEY)  # as the sweep does
    await simulation.settle()
    simulation.assert_ready()


async def test_an_api_server_that_knows_no_apply_of_what_is_not_there_is_asked_plainly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody documents that an apply with a resourceVersion creates."""
    simulation = Simulation()

    async def refuse(*_: object) -> None:
        raise RejectedError("resourceVersion should not be set on objects to be created")

    monkeypatch.setattr(simulation.cluster, "apply_new_object", refuse)
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()


async def test_what_was_there_and_is_gone_is_made_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken between two looks must not be taken over: it is looked again, from the start."""
    simulation = Simulation()
    apply_new, refused = simulation.cluster.apply_new_object, list[str]()

    async def refuse_once(resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Any:
        if resource is SERVICES and not refused:
            refused.append("there is one")
            return None
        return await apply_new(resource, namespace, manifest)

    monkeypatch.setattr(simulation.cluster, "apply_new_object", refuse_once)
    simulation.create()
    await simulation.settle_waiting()
    assert refused
    simulation.assert_ready()


def _without_our_label(simulation: Simulation) -> Any:
    """Take our label from the Service, and let the operator hear of it as the watch tells it: as of a deletion, for only what has our label is watched."""
    service = simulation.cluster.edit(simulation.cluster.get("Service"), lambda o: o["metadata"].update(labels={}))
    simulation.operator.observe(SERVICES, service, deleted=True)
    return service


async def test_what_is_ours_and_lost_its_label_is_found_by_its_owner() -> None:
    simulation = await build_ready()
    service = _without_our_label(simulation)
    await simulation.settle()
    simulation.assert_ready()
    mended = simulation.cluster.get("Service")
    assert mended["metadata"]["uid"] == service["metadata"]["uid"]
    assert mended["metadata"]["labels"]["clipmodel.dev/model"] == NAME
    await simulation.assert_converged()


async def test_a_name_that_is_taken_while_we_look_is_left_alone() -> None:
    """An object of ours that is replaced by somebody else's between our reading and our applying: that is another uid."""
    simulation = await build_ready()
    service = _without_our_label(simulation)
    foreign: list[Any] = []

    def take(what: str) -> None:
        if what == "apply Service clip" and not foreign:
            simulation.cluster.remove(service)
            taken = {"apiVersion": "v1", "kind": "Service", "metadata": dict(SHOP), "spec": FOREIGN["Service"]}
            foreign.append(simulation.cluster.add(taken))

    simulation.cluster.before_write = take
    await simulation.settle_waiting(seconds=5)
    assert foreign
    assert simulation.cluster.find("Service") == foreign[0]
    assert simulation.says("Stalled") == ("True", "ObjectRejected")


async def test_deletion_writes_nothing_and_leaves_only_a_retained_volume() -> None:
    simulation = await build_ready()
    before = len(simulation.cluster.writes)
    simulation.cluster.edit(simulation.clip, lambda o: o["metadata"].update(deletionTimestamp="2026-11-22T13:00:00Z"))
    await simulation.settle()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.cluster.writes[before:] == []
    assert {o["kind"] for o in simulation.cluster.objects.values()} == {"PersistentVolumeClaim", "Event"}


@pytest.mark.parametrize("write", ["apply ClipModel clip status", "apply Deployment clip"])
async def test_a_deletion_that_crosses_the_answer_to_a_write_is_final(write: str) -> None:
    """The news of the end come first, then the answer to what was written just before: without care, a ClipModel that is gone is served on and on."""
    simulation = Simulation()

    def delete(what: str) -> None:
        if what == write and simulation.cluster.find("ClipModel"):
            simulation.cluster.remove(simulation.clip)
            simulation.deliver_all()

    simulation.create()
    simulation.cluster.after_write = delete
    await simulation.settle()
    before = len(simulation.cluster.writes)
    await simulation.settle_waiting(seconds=3600)
    assert simulation.cluster.find("ClipModel") is None
    assert simulation.cluster.writes[before:] == []
    assert {o["kind"] for o in simulation.cluster.objects.values()} <= {"PersistentVolumeClaim", "Event"}


async def test_under_reclaim_policy_delete_the_volume_goes_too() -> None:
    simulation = Simulation()
    simulation.create(build_spec(storage={"reclaimPolicy": "Delete"}))
    await simulation.settle()
    simulation.assert_ready()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert {o["kind"] for o in simulation.cluster.objects.values()} == {"Event"}


async def test_changed_to_retain_the_volume_stays() -> None:
    simulation = Simulation()
    simulation.create(build_spec(storage={"reclaimPolicy": "Delete"}))
    await simulation.settle()
    simulation.update(build_spec(storage={"reclaimPolicy": "Retain"}))
    await simulation.settle()
    await simulation.assert_converged()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.cluster.find("PersistentVolumeClaim") is not None


async def test_a_retained_volume_is_found_again() -> None:
    simulation = await build_ready()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    simulation.kubelet.uploads.clear()  # the source is gone by now
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()
