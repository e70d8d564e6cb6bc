"""What an adversary found: each breaks a promise, and says which."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from clipmodel_operator.models.errors import RetryError
from support.builders import ONE, URI_1, VECTORS_1, build_spec, build_version
from support.driver import HOUR, Driver
from support.fake_controllers import FakeControllers
from support.fake_kubelet import is_ready
from support.fake_triton import Call, Fault, Harm, Upload
from support.server_side_apply import Object
from support.simulation import Killed, Simulation

REPLACE: Object = {"rollout": {"strategy": "Replace"}}
ALL: Object = {"versionPolicy": {"all": {}}}


@pytest.fixture
def driver() -> Iterator[Driver]:
    made = Driver()
    made.world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
    yield made
    made.close()


def spec(milliseconds: int = 5, *, replicas: int = 2, versions: Sequence[Object] = (ONE,), **fields: object) -> Object:
    return build_spec(
        *versions, serving={"replicas": replicas}, batching={"maxQueueDelay": f"{milliseconds}ms"}, **fields
    )


def delay(config: Mapping[str, Any]) -> int:
    """Give the queue's delay in milliseconds."""
    return int(config["dynamic_batching"]["max_queue_delay_microseconds"]) // 1000


def upload(driver: Driver, *uploads: Upload) -> list[Object]:
    """Upload versions 1, 2, and so on, and give them as a spec has them."""
    versions = []
    for number, found in enumerate(uploads, 1):
        uri = f"https://models.example.com/{number}.onnx"
        driver.world.kubelet.uploads[uri] = found
        versions.append(build_version(number, uri=uri, sha256=found.sha256))
    return versions


async def served(**fields: object) -> Simulation:
    simulation = Simulation()
    simulation.create(spec(5, **fields))  # type: ignore[arg-type]  # a test says what it needs
    await simulation.settle()
    simulation.assert_ready(1)
    return simulation


def serve(driver: Driver, wanted: Object) -> None:
    driver.world.create(wanted)
    driver.settle_for(300.0)
    assert driver.world.says("Ready") == ("True", "Serving"), driver.world.status["conditions"]


def test_an_evicted_pod_of_the_other_slot_fails_no_replacement(driver: Driver) -> None:
    """It is Failed since before the attempt, and says nothing of a revision that it never read (walks of 400 steps, seeds 5080 and 5084)."""
    world = driver.world
    serve(driver, spec(5, **REPLACE))
    driver.ask(spec(6, **REPLACE))
    driver.settle_for(300.0)
    pod = world.pods()[0]
    driver.do("its container ends", lambda: world.kubelet.kill(pod))
    driver.settle_for(60.0)
    driver.do("evicted", lambda: world.kubelet.evict(world.pods()[0]))
    driver.settle_for(300.0)
    for milliseconds in (7, 8):  # to the first slot, and back to the one that it read
        driver.ask(spec(milliseconds, **REPLACE))
        driver.settle_for(300.0)
        assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]


async def test_what_is_proven_and_embeds_otherwise_by_now_is_no_reason_to_be_deaf() -> None:
    """A pod that was withdrawn never comes back by what is proven: the target of the user who mends it is tried."""
    simulation = await served(replicas=1)
    simulation.triton.distorts = lambda _model, config: delay(config) == 5
    await simulation.restart_operator()
    await simulation.settle_waiting(seconds=60)
    assert simulation.says("Verified") == ("False", "GoldenCheckFailed")
    simulation.update(spec(7, replicas=1))
    await simulation.settle_waiting(seconds=7200)
    assert simulation.says_ready(), simulation.status["conditions"]


async def test_a_new_pod_that_embeds_otherwise_leaves_the_service_before_it_is_replaced() -> None:
    """Status says that it is wrong, and clients got it until the Deployment had made another."""
    simulation = await served(**REPLACE)
    simulation.update(spec(7, **REPLACE))

    def new() -> list[Any]:
        return [s for s in simulation.ready_servers() if delay(s.configs["clip"]) == 7]

    for _ in range(400):
        simulation.deliver_all()
        await simulation.let_run()
        if new():
            break
        if len(simulation.queue):
            await simulation.work()
        elif following := simulation.controllers.steps():
            following[0][1]()
        else:
            await asyncio.sleep(0.01)
    found = new()
    assert found
    simulation.triton.distorts = lambda _model, config: delay(config) == 7
    await simulation.restart_operator()
    for _ in range(60):  # the operator alone, while the cluster takes its time
        simulation.deliver_all()
        await simulation.let_run()
        if len(simulation.queue):
            await simulation.work()
        elif simulation.has_steps:
            await asyncio.sleep(0.01)
    assert simulation.says("Verified") == ("False", "GoldenCheckFailed")
    assert "clip" not in found[0].configs


@pytest.mark.parametrize("strategy", ["InPlace", "Replace"])
def test_what_happens_between_a_commit_and_its_end_fails_nothing(driver: Driver, strategy: str) -> None:
    """The operator is killed between the two writes, and a container ends: what is proven was then Stalled for ever, OutOfMemory, and served."""
    world, killed, fields = driver.world, list[str](), dict[str, Any](rollout={"strategy": strategy})
    serve(driver, spec(5, **fields))

    def kill(what: str) -> None:
        if what != "apply ConfigMap clip-config" or killed:
            return
        stored = json.loads(world.cluster.get("ConfigMap", "clip-config")["data"]["revisions.json"])
        proven = next(r for r in stored["revisions"] if r["id"] == stored["proven"])
        if delay(proven["configs"]["cpu"]) == 7:
            killed.append(what)
            pod = next(p for p in world.pods() if is_ready(p))
            world.kubelet.kill(pod, "OOMKilled")
            for words in ("end is told", "starts again"):
                next(act for name, act in world.controllers.steps() if words in name)()
            driver.is_killed, world.epoch = True, world.epoch + 1
            raise Killed

    world.cluster.after_write = kill
    driver.ask(spec(7, **fields))
    driver.settle_for(2 * HOUR)
    assert killed
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
    driver.rest()


def test_of_two_new_versions_the_one_that_is_refused_is_left_out(driver: Driver) -> None:
    """Each is proven alone: what is refused then is refused for that version, whether Triton's words name it or not."""
    versions = upload(driver, *(Upload(str(n) * 64, VECTORS_1, is_refused=n == 3) for n in (1, 2, 3)))
    serve(driver, spec(versions=versions[:1], **ALL))
    driver.ask(spec(versions=versions, **ALL))
    driver.settle_for(3 * HOUR)
    assert driver.world.status["servingVersions"] == [1, 2], driver.world.status["conditions"]


def test_what_differs_for_ever_is_not_tried_again_beside_another_version(driver: Driver) -> None:
    """It is held against a version that serves by other settings, so it was never left out, and each edit of versions loaded it once more."""
    world, versions, loads = (
        driver.world,
        upload(driver, *(Upload(str(n) * 64, VECTORS_1) for n in (1, 2, 3))),
        list[str](),
    )
    serve(driver, spec(versions=versions[:2], **ALL))
    sent = world.triton.sent

    def note(call: Call) -> None:
        sent(call)
        loads.extend([str(call)] if call.kind == "load" else [])

    world.triton.sent = note
    world.triton.faults = [Fault(Harm.DIFFERS, lambda config: delay(config) == 7)]
    driver.ask(spec(7, versions=versions[:2], **ALL))
    driver.settle_for(HOUR)
    assert world.condition("Stalled")
    loads.clear()
    driver.ask(spec(7, versions=versions, **ALL))
    driver.settle_for(HOUR)
    assert world.condition("Stalled")
    assert loads == []


def test_where_the_ledger_was_lost_a_spec_that_is_corrected_is_heard(driver: Driver) -> None:
    """What pods were to start with has failed for ever, and a ready pod runs what nobody knows: nothing else became the target."""
    world = driver.world
    versions = upload(driver, *(Upload(str(n) * 64, VECTORS_1, is_wrong=n == 2) for n in (1, 2, 3)))
    serve(driver, spec(versions=versions[:1]))
    driver.ask(spec(versions=versions[1:2]))
    driver.do("it is deleted", lambda: world.cluster.remove(world.cluster.get("ConfigMap", "clip-config")))
    driver.settle_for(HOUR)
    assert world.says("Stalled") == ("True", "GoldenCheckFailed")
    driver.ask(spec(versions=versions[2:]))
    driver.settle_for(HOUR)
    assert world.status["servingVersions"] == [3], world.status["conditions"]
    assert world.says_ready()


def test_another_profile_that_fails_leaves_pods_that_can_start(driver: Driver) -> None:
    """What is proven was recovered from a pod, and has that pod's profile alone: pods of the other one waited for a file that no slot has, for ever."""
    world = driver.world
    serve(driver, spec(5, replicas=1))
    world.triton.faults = [Fault(Harm.DIFFERS, lambda config: delay(config) in {7, 9})]
    driver.ask(spec(7, replicas=1))
    driver.do("it is deleted", lambda: world.cluster.remove(world.cluster.get("ConfigMap", "clip-config")))
    driver.settle_for(300.0)
    assert {delay(s.configs["clip"]) for s in world.ready_servers()} == {5}
    driver.ask({**spec(9, replicas=1), "profile": "gpu"})
    driver.settle_for(HOUR)
    assert world.says("Stalled") == ("True", "GoldenCheckFailed"), world.status["conditions"]
    assert all(is_ready(p) for p in world.pods()), "one waits for what never comes"
    driver.ask({**spec(11, replicas=1), "profile": "gpu"})
    driver.settle_for(HOUR)
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
    assert world.status["profile"] == "gpu"


def test_a_replacement_that_may_not_begin_holds_up_nothing_else(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A roll never ended, since a quota leaves one pod too few: then a change by new pods waits, and fewer replicas were not heard of for ever."""
    world, steps = driver.world, FakeControllers._scale_steps

    def within_quota(self: FakeControllers, deployment: Object, pods: list[Object]) -> list[Any]:
        is_full = len(pods) >= 2 and deployment["spec"]["replicas"] > len(pods)
        return [] if is_full else steps(self, deployment, pods)

    serve(driver, spec(5, **REPLACE))
    monkeypatch.setattr(FakeControllers, "_scale_steps", within_quota)
    driver.ask(spec(5, replicas=3, **REPLACE))
    driver.settle_for(300.0)
    driver.ask(spec(7, replicas=3, **REPLACE))
    driver.settle_for(300.0)
    assert not world.says_ready()
    driver.ask(spec(7, replicas=2, **REPLACE))
    driver.settle_for(HOUR)
    assert world.cluster.get("Deployment", "clip")["spec"]["replicas"] == 2
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]


async def test_a_ready_pod_that_is_too_busy_to_be_asked_is_not_called_unready(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = await served(replicas=1)

    async def is_full(*_: object, **__: object) -> None:
        raise RetryError("Triton answers HTTP 503: Exceeds maximum queue size")

    monkeypatch.setattr(type(simulation.triton), "embed_golden", is_full)
    await simulation.restart_operator()
    await simulation.settle()
    assert simulation.says("Ready") == ("Unknown", "PodsNotReady")
    told = simulation.condition("Available")
    assert told is not None
    assert told["message"] == "No ready pod has answered the golden check."


def test_a_pause_in_the_middle_of_a_switch_is_not_ready(driver: Driver) -> None:
    """Status names a revision that no pod runs any more, and says Ready: readyReplicas was 0."""
    world = driver.world
    serve(driver, spec(5))
    driver.decide = lambda call, choices: None if (call.kind, call.model) == ("load", "clip") else choices[0]
    driver.ask(spec(7))
    driver.settle_for(60.0)
    driver.ask(spec(7, paused=True))
    driver.decide = lambda _call, choices: choices[0]
    driver.settle_for(HOUR)
    assert {delay(s.configs["clip"]) for s in world.ready_servers()} == {7}
    assert world.status["readyReplicas"] == 0
    assert world.says("Ready") == ("Unknown", "Paused"), world.status["conditions"]
    driver.ask(spec(7))
    driver.settle_for(300.0)
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
