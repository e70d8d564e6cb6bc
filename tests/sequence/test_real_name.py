"""What goes wrong under the real name alone, after every proof: it ends, and status says of what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clipmodel_operator.models.errors import RetryError
from support.builders import ONE, URI_1, VECTORS_1, build_spec
from support.driver import HOUR, Driver
from support.fake_triton import At, Call, Config, Fault, Harm, Upload
from support.simulation import Simulation


def spec(replicas: int, milliseconds: int = 5, **fields: Any) -> dict[str, Any]:
    return build_spec(ONE, serving={"replicas": replicas}, batching={"maxQueueDelay": f"{milliseconds}ms"}, **fields)


def is_slow(config: Config) -> bool:
    return int(config["dynamic_batching"]["max_queue_delay_microseconds"]) >= 50_000


@pytest.fixture
def driver() -> Iterator[Driver]:
    made = Driver()
    made.world.kubelet.uploads[URI_1] = Upload(ONE["source"]["sha256"], VECTORS_1)
    yield made
    made.close()


def start(driver: Driver, replicas: int) -> None:
    driver.world.create(spec(replicas))
    assert driver.rest()
    driver.world.assert_ready(1)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_load_that_kills_under_the_real_name_alone_is_tried_twice(driver: Driver, replicas: int) -> None:
    """Liveness ends a server that loads for too long: nobody says why, and no proof has shown it."""
    start(driver, replicas)
    kills, finished = list[str](), driver.world.triton.finished

    def note(call: Call) -> None:
        finished(call)
        if call.server is not None and call.server.is_dead:
            kills.append(call.pod)

    driver.world.triton.finished = note
    driver.world.triton.faults = [Fault(Harm.KILLS, is_slow, at=frozenset({At.REAL}), reason="Error")]
    driver.ask(spec(replicas, 50))
    driver.settle_for(3 * HOUR)
    assert len(kills) <= 2 * replicas, kills
    assert driver.world.says("Stalled") == ("True", "ServerKilled"), driver.world.status["conditions"]
    assert driver.world.can_embed(1)
    assert len(driver.world.ready_servers()) == replicas


def test_what_our_own_loads_have_ended_starts_again(driver: Driver) -> None:
    """Edits that each kill the only pod: it comes back with what is proven, and no target is put in its place."""
    start(driver, 1)
    driver.world.triton.faults = [Fault(Harm.KILLS, is_slow, at=frozenset({At.CANDIDATE}))]
    phases = set[str]()

    def look() -> None:
        phases.add(str(((driver.world.clip.get("status") or {}).get("rollout") or {}).get("phase")))
        boots = driver.world.cluster.get("ConfigMap", "clip-config")["data"]["cpu.pbtxt"]
        assert "max_queue_delay_microseconds: 5000\n" in boots, "pods start with what is proven"

    driver.look_too = look
    for milliseconds in (50, 60, 70, 80):
        driver.ask(spec(1, milliseconds))
        driver.settle_for(6)
    driver.settle_for(900)
    assert driver.world.can_embed(1), phases


@pytest.mark.parametrize("replicas", [2, 3])
async def test_answers_that_are_lost_under_the_real_name_end_in_a_return(replicas: int) -> None:
    simulation = Simulation()
    simulation.create(spec(replicas))
    await simulation.settle()
    simulation.assert_ready(1)
    victim, after = simulation.pods()[0]["metadata"]["name"], simulation.cluster.after_write
    lost = list[float]()

    def lose(what: str) -> None:
        after(what)
        if what == "load clip" and simulation.cluster.writes[-1].endswith(f"on {victim}"):
            lost.append(simulation.clock.seconds)
            raise RetryError("Triton does not answer")

    simulation.cluster.after_write = lose
    simulation.update(spec(replicas, 50))
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 1800)
    rollout = simulation.status["rollout"]
    assert rollout["phase"] in {"Waiting", "Switching", "Returning", "Proving"}
    assert len(lost) <= 5 * 6, "an attempt ends after five, and the next waits longer each time"
    simulation.cluster.after_write = after
    await simulation.settle_waiting(seconds=simulation.clock.seconds + 2 * 3600)
    simulation.assert_ready(1)
    assert all(is_slow(s.configs["clip"]) for s in simulation.ready_servers())


async def test_how_pods_are_replaced_is_told_by_an_operator_that_has_just_started() -> None:
    """Its status waits for the pods' first answers; nobody else would know of the event."""
    simulation = Simulation()
    simulation.create(spec(2))
    await simulation.settle()
    simulation.update(build_spec(ONE, serving={"replicas": 2, "image": "triton:2"}))
    await simulation.restart_operator()
    await simulation.settle()
    assert simulation.events().count("RollingUpdate") == 1
