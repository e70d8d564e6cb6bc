"""Pods of another template: each new one before an old one goes, and where there is no room for that, one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.models.errors import RetryError
from support.builders import URI_1, VECTORS_1, VECTORS_NEAR_1, build_spec
from support.simulation import KEY, Killed, Simulation, build_ready

NEW_IMAGE = "registry.example.com/triton:2"
GPU = "nvidia.com/gpu"
MINE = {"existingClaim": "mine"}


def spec(*, replicas: int, storage: dict[str, Any] | None = None, **serving: Any) -> dict[str, Any]:
    fields = {"storage": storage} if storage else {}
    return build_spec(serving={"replicas": replicas, "resources": {"limits": {GPU: 1}}, **serving}, **fields)


async def ready(*, replicas: int, modes: tuple[str, ...] = (), room: int | None = None) -> Simulation:
    """Give a ClipModel that serves; `modes` of a claim of the user's, where there are any."""
    simulation = Simulation()
    simulation.kubelet.room = room
    if modes:
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "mine", "namespace": "demo"}}
        simulation.cluster.add({**claim, "spec": {"accessModes": list(modes)}})
    simulation.create(spec(replicas=replicas, storage=MINE if modes else None))
    await simulation.settle()
    simulation.assert_ready()
    return simulation


async def roll(simulation: Simulation, changed: dict[str, Any]) -> int:
    """Change the spec, let everything happen, and give the least number of pods that were ready meanwhile."""
    simulation.update(changed)
    fewest = len(simulation.ready_servers())

    def look() -> None:
        nonlocal fewest
        fewest = min(fewest, len(simulation.ready_servers()))

    await simulation.settle_waiting(look=look)
    simulation.assert_ready()
    assert all(p["spec"]["containers"][0]["image"] == NEW_IMAGE for p in simulation.pods())
    return fewest


def told(simulation: Simulation) -> list[tuple[str, str]]:
    """List the events about rolling: their type and message."""
    events = [e for e in simulation.cluster.all("Event") if e["reason"] == "RollingUpdate"]
    return [(e["type"], e["message"]) for e in sorted(events, key=lambda e: int(e["metadata"]["resourceVersion"]))]


@pytest.mark.parametrize("replicas", [1, 3])
async def test_where_there_is_room_no_pod_goes_before_its_successor_is_ready(replicas: int) -> None:
    simulation = await ready(replicas=replicas)
    assert told(simulation) == [], "the first pods replace none"
    assert await roll(simulation, spec(replicas=replicas, image=NEW_IMAGE)) == replicas
    [(kind, message)] = told(simulation)
    assert kind == "Normal"
    assert "maxSurge 1, maxUnavailable 0" in message
    await simulation.assert_converged()


@pytest.mark.parametrize("replicas", [1, 2])
async def test_where_there_is_none_an_old_pod_goes_first_after_a_while(replicas: int) -> None:
    simulation = await ready(replicas=replicas, room=replicas)
    begun = simulation.clock.seconds
    assert await roll(simulation, spec(replicas=replicas, image=NEW_IMAGE)) == replicas - 1
    assert simulation.clock.seconds - begun >= 30
    (first, surge), (second, in_turn) = told(simulation)
    assert (first, second) == ("Normal", "Warning" if replicas == 1 else "Normal")
    assert "maxSurge 1" in surge
    assert "maxSurge 0, maxUnavailable 1" in in_turn
    assert "Insufficient nvidia.com/gpu" in in_turn
    assert ("gap in service" in in_turn) == (replicas == 1)
    await simulation.assert_converged()


async def test_while_a_surge_pod_waits_status_says_for_what_and_the_old_one_serves() -> None:
    simulation = await ready(replicas=1, room=1)
    simulation.update(spec(replicas=1, image=NEW_IMAGE))
    await simulation.settle()
    condition = simulation.condition("Ready")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("Unknown", "RollingOut")
    assert "Insufficient nvidia.com/gpu" in condition["message"]
    assert "Meanwhile version 1 serves." in condition["message"]
    assert simulation.can_embed(1)


async def test_ready_is_not_said_of_a_template_that_no_pod_has_yet() -> None:
    """Not even before the Deployment's controller has looked: whoever waits for Ready after an edit would go on too early."""
    simulation = await ready(replicas=1)
    simulation.update(spec(replicas=1, image=NEW_IMAGE))
    simulation.deliver_all()
    await simulation.work()
    assert simulation.status["observedGeneration"] == simulation.clip["metadata"]["generation"]
    assert simulation.says("Ready") == ("Unknown", "RollingOut")
    assert simulation.says("Reconciling") == ("True", "Progressing")


async def test_an_old_pod_does_not_go_for_a_room_that_it_cannot_give() -> None:
    """Two GPUs are wanted in place of one, and there is one: without this, nothing would be left."""
    simulation = await ready(replicas=1, room=1)
    simulation.update(spec(replicas=1, resources={"limits": {GPU: 2}}))
    await simulation.settle_waiting()
    assert simulation.can_embed(1)
    assert simulation.says("Ready") == ("Unknown", "RollingOut")
    assert len(told(simulation)) == 1
    simulation.update(spec(replicas=1))
    await simulation.settle_waiting()
    simulation.assert_ready()


async def test_the_next_change_tries_for_room_again() -> None:
    simulation = await ready(replicas=1, room=1)
    await roll(simulation, spec(replicas=1, image=NEW_IMAGE))
    simulation.kubelet.room = 2
    assert await roll(simulation, spec(replicas=1, image=NEW_IMAGE, podAnnotations={"a": "b"})) == 1


async def test_a_claim_of_the_users_that_one_node_can_mount_leaves_no_choice() -> None:
    simulation = await ready(replicas=2, modes=("ReadWriteOnce",))
    assert await roll(simulation, spec(replicas=2, storage=MINE, image=NEW_IMAGE)) == 1
    [(kind, message)] = told(simulation)
    assert kind == "Normal"
    assert "maxSurge 0" in message
    assert "claim mine is ReadWriteOnce" in message


async def test_a_claim_that_cannot_be_read_does_not_hide_what_serves() -> None:
    simulation = await ready(replicas=1, modes=("ReadWriteMany",))

    def refuse(what: str) -> None:
        if what == "get PersistentVolumeClaim mine":
            raise RetryError("HTTP 500")

    simulation.cluster.before_read = refuse
    simulation.queue.add(KEY)
    await simulation.work()
    assert simulation.says("Ready") == ("False", "ApiUnavailable")
    assert "Meanwhile version 1 serves." in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert simulation.says("Available") == ("True", "PodsReady")


async def test_a_quota_that_refuses_the_surge_pod_is_said() -> None:
    simulation = await ready(replicas=1)
    simulation.update(spec(replicas=1, image=NEW_IMAGE))
    simulation.deliver_all()
    await simulation.work()
    refused = {"type": "ReplicaFailure", "status": "True", "message": 'serviceaccount "typo" not found'}
    simulation.cluster.edit(simulation.cluster.get("Deployment"), lambda o: o["status"].update(conditions=[refused]))
    simulation.deliver_all()
    await simulation.work()
    message = simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert (
        message
        == 'Pods are replaced by those of the new spec; serviceaccount "typo" not found. Meanwhile version 1 serves.'
    )


async def test_two_edits_while_no_gpu_is_there_leave_what_serves() -> None:
    """The pod of the first edit waits beside the one that serves, and holds nothing that the second one's could have."""
    simulation = await ready(replicas=1, room=1)
    for count in (2, 3):
        simulation.update(spec(replicas=1, resources={"limits": {GPU: count}}))
        await simulation.settle_waiting()
        assert simulation.can_embed(1)
    assert len(told(simulation)) == 2
    simulation.update(spec(replicas=1, image=NEW_IMAGE, resources={"limits": {GPU: 2}}))
    await simulation.settle_waiting()
    assert simulation.can_embed(1)


async def test_a_claim_of_the_users_that_any_node_can_mount_is_like_ours() -> None:
    simulation = await ready(replicas=2, modes=("ReadWriteMany",))
    assert await roll(simulation, spec(replicas=2, storage=MINE, image=NEW_IMAGE)) == 2
    await simulation.assert_converged()


# rollout.strategy: Replace.


@pytest.mark.parametrize("served", [VECTORS_1, VECTORS_NEAR_1], ids=["as before", "within the new tolerance alone"])
async def test_new_pods_are_held_against_the_tolerance_that_they_are_to_prove(served: Any) -> None:
    """The config is the same, and the old revision's tolerance is no business of theirs. While one starts it is not asked without end."""
    fields: Any = {"rollout": {"strategy": "Replace"}, "serving": {"replicas": 2}}
    simulation = await build_ready(build_spec(**fields))
    simulation.kubelet.uploads[URI_1].served = served
    asked = simulation.triton.asked
    simulation.update(build_spec(**fields, verification={"tolerance": "0.999"}))
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.triton.asked - asked == 2 * len(VECTORS_1), "each of the new pods once"
    await simulation.assert_converged()


async def test_a_new_operator_holds_running_pods_against_what_they_have_proven() -> None:
    """In the middle of proving a tolerance that they do not meet: they are right by the one that counts until then, and stay in the Service."""
    simulation = Simulation()
    simulation.kubelet.uploads[URI_1].served = VECTORS_NEAR_1
    simulation.create(build_spec(verification={"tolerance": "0.999"}))
    await simulation.settle()
    assert simulation.says("Ready") == ("True", "Serving")

    def kill(what: str) -> None:
        if what == "apply ConfigMap clip-rollout":
            raise Killed

    simulation.cluster.after_write = kill
    simulation.update(build_spec())
    with pytest.raises(Killed):
        await simulation.settle()
    simulation.cluster.after_write = lambda _: None
    simulation.triton.seen.clear()
    await simulation.restart_operator()
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "GoldenCheckFailed")
    assert simulation.status["servingVersions"] == [1]
    assert simulation.triton.seen == [], "nothing is loaded for a tolerance, and nothing unloaded"
