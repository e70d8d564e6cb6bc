"""What is not ours is left alone, and what a ClipModel leaves behind when it is deleted."""

from __future__ import annotations

import pytest

from support.builders import NAME, build_spec
from support.simulation import KEY, Simulation, build_ready

SHOP = {"name": NAME, "namespace": "demo", "labels": {"app": "shop"}}
FOREIGN = {
    "Service": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    "Deployment": {"replicas": 0, "template": {"spec": {"containers": []}}},
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_what_somebody_else_has_under_our_name_is_left_alone(kind: str) -> None:
    simulation = Simulation()
    foreign = simulation.cluster.add({"apiVersion": "v1", "kind": kind, "metadata": dict(SHOP), "spec": FOREIGN[kind]})
    simulation.create()
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "ObjectRejected")
    assert f"{kind} clip" in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert simulation.cluster.find(kind) == foreign
    await simulation.assert_converged()
    simulation.cluster.remove(foreign)
    simulation.queue.add(KEY)  # as the sweep does
    await simulation.settle()
    simulation.assert_ready()


async def test_deletion_writes_nothing_and_leaves_only_a_retained_volume() -> None:
    simulation = await build_ready()
    before = len(simulation.cluster.writes)
    simulation.cluster.edit(simulation.clip, lambda o: o["metadata"].update(deletionTimestamp="2026-11-22T13:00:00Z"))
    await simulation.settle()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.cluster.writes[before:] == []
    assert {o["kind"] for o in simulation.cluster.objects.values()} == {"PersistentVolumeClaim", "Event"}


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
