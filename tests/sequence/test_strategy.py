"""What running pods do not hold beside what serves, new pods may hold: `rollout.strategy: Replace`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clipmodel_operator.planning import objects
from support.builders import ONE, URI_1, VECTORS_1, build_spec
from support.driver import Driver
from support.fake_triton import At, Call, Config, Fault, Harm, Upload
from support.simulation import Killed

SERVING = {"serving": {"replicas": 2}}
SLOWER = {"batching": {"maxQueueDelay": "50ms"}}
REPLACE = {"rollout": {"strategy": "Replace"}}
_DELAY_US = 50_000


@pytest.fixture
def driver() -> Iterator[Driver]:
    made = Driver()
    made.world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
    made.world.create(build_spec(**SERVING))
    assert made.rest()
    yield made
    made.close()


def spec(milliseconds: int) -> dict[str, Any]:
    return build_spec(**SERVING, **REPLACE, batching={"maxQueueDelay": f"{milliseconds}ms"})


def is_slower(config: Config) -> bool:
    return int(config["dynamic_batching"]["max_queue_delay_microseconds"]) == _DELAY_US


def delays(driver: Driver) -> set[int]:
    """As protobuf writes it, a number of 64 bits is a text."""
    servers = driver.world.ready_servers()
    return {int(s.configs["clip"]["dynamic_batching"]["max_queue_delay_microseconds"]) for s in servers}


def test_what_killed_running_pods_goes_by_new_ones_as_soon_as_that_is_asked_for(driver: Driver) -> None:
    world = driver.world
    world.triton.faults = [Fault(Harm.KILLS, is_slower, frozenset({At.CANDIDATE, At.REAL}))]
    driver.ask(build_spec(**SERVING, **SLOWER))
    driver.settle_for(3600.0)
    assert world.says("Stalled") == ("True", "OutOfMemory"), world.status["conditions"]
    driver.ask(build_spec(**SERVING, **SLOWER, **REPLACE))
    driver.settle_for(300.0)
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
    assert delays(driver) == {_DELAY_US}


def note_loads(driver: Driver) -> list[str]:
    """Give a list that grows by what running pods load beside what they run. To load what one runs is none."""
    triton, loads = driver.world.triton, list[str]()
    sent = triton.sent

    def note(call: Call) -> None:
        sent(call)
        loads.extend([str(call)] if (call.kind, call.model) == ("load", "clip__candidate") else [])

    triton.sent = note
    return loads


@pytest.mark.parametrize(
    ("fatal", "turn"),
    [("ConfigMap clip-rollout", 1), ("ConfigMap clip-rollout", 2), ("ConfigMap clip-config", 1), ("ConfigMap clip-config", 2), ("Deployment clip", 1)],
)  # fmt: skip
def test_an_operator_that_is_killed_after_a_write_replaces_each_pod_once(driver: Driver, fatal: str, turn: int) -> None:
    """At the begin of an attempt, and at its end."""
    world, loads, written, killed = driver.world, note_loads(driver), 0, list[str]()
    driver.ask(spec(7))
    driver.settle_for(300.0)
    seen = {p["metadata"]["uid"] for p in world.pods()}

    def kill(what: str) -> None:
        nonlocal written
        written += what == f"apply {fatal}"
        if written == turn and not killed:
            killed.append(what)
            world.log.append(f"killed after {what}")
            driver.is_killed, world.epoch = True, world.epoch + 1
            raise Killed

    def look() -> None:
        seen.update(p["metadata"]["uid"] for p in world.pods())

    world.cluster.after_write, driver.look_too = kill, look
    driver.ask(spec(8))
    driver.settle_for(300.0)
    assert (world.says("Ready"), delays(driver)) == (("True", "Serving"), {8000}), world.log[-40:]
    assert killed, "nobody was killed"
    assert (loads, len(seen)) == ([], 4), "\n".join(world.log)


def test_each_change_goes_by_new_pods_that_start_with_it_from_either_slot(driver: Driver) -> None:
    world, loads = driver.world, note_loads(driver)
    for milliseconds in (7, 8, 9, 10):
        driver.ask(spec(milliseconds))
        driver.settle_for(300.0)
        assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
        assert delays(driver) == {1000 * milliseconds}
        assert loads == [], "memory may hold one copy"


def test_another_tolerance_replaces_nothing(driver: Driver) -> None:
    world = driver.world
    driver.ask(spec(7))
    driver.settle_for(300.0)
    before, proven = {p["metadata"]["uid"] for p in world.pods()}, world.status["rollout"]["provenRevision"]
    driver.ask(spec(7) | {"verification": {"tolerance": "0.999"}})
    driver.settle_for(300.0)
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
    assert world.status["rollout"]["provenRevision"] == world.status["rollout"]["targetRevision"] != proven
    assert {p["metadata"]["uid"] for p in world.pods()} == before


def test_pods_that_start_are_not_asked_without_end_by_another_tolerance(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a tolerance goes by new pods all the same, since the other profile's config is another: theirs has the id of before."""
    monkeypatch.setattr(objects, "must_replace", lambda *_: True)
    driver.ask(spec(5) | {"verification": {"tolerance": "0.999"}})
    driver.settle_for(300.0)
    assert driver.world.says("Ready") == ("True", "Serving"), driver.world.status["conditions"]


def test_a_lost_ledger_replaces_no_pod_of_the_second_slot(driver: Driver) -> None:
    world = driver.world
    driver.ask(spec(7))
    driver.settle_for(300.0)
    before = {p["metadata"]["uid"] for p in world.pods()}
    driver.do("the ConfigMap is deleted", lambda: world.cluster.remove(world.cluster.get("ConfigMap", "clip-config")))
    driver.settle_for(300.0)
    assert world.says("Ready") == ("True", "Serving"), world.status["conditions"]
    assert world.cluster.find("ConfigMap", "clip-config") is not None
    assert ({p["metadata"]["uid"] for p in world.pods()}, delays(driver)) == (before, {7000})
