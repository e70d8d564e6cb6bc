"""A configuration that fails leaves what served: every pod that took it runs what is committed again, however often a request is lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clipmodel_operator.models.errors import RetryError
from clipmodel_operator.rendering.config_pbtxt import config_id
from clipmodel_operator.rendering.read_pbtxt import read_config_pbtxt
from support.builders import ONE, TWO, build_spec
from support.fake_triton import At, Fault, Harm
from support.simulation import KEY, Simulation

#: An edit of each kind that is taken over by running servers, and what of the config shows it.
EDITS: dict[str, tuple[dict[str, Any], Callable[[Mapping[str, Any]], bool]]] = {
    "batching": (
        {"batching": {"maxQueueDelay": "50ms"}},
        lambda c: bool(c["dynamic_batching"]["max_queue_delay_microseconds"] == 50_000),
    ),
    "instances": ({"instances": {"count": 2}}, lambda c: bool(c["instance_group"][0]["count"] == 2)),
    "optimization": ({"optimization": {"graphLevel": "Basic"}}, lambda c: "optimization" in c),
}


async def served(replicas: int) -> tuple[Simulation, Mapping[str, Any]]:
    """Give the world of a ClipModel that serves, and the config that is committed."""
    simulation = Simulation()
    simulation.create(build_spec(ONE, serving={"replicas": replicas}))
    await simulation.settle()
    simulation.assert_ready(1)
    return simulation, read_config_pbtxt(simulation.cluster.get("ConfigMap")["data"]["cpu.pbtxt"])


def configs(simulation: Simulation) -> list[str]:
    """Name the config of every ready server."""
    return [config_id(s.configs["clip"]) for s in simulation.ready_servers()]


def change(simulation: Simulation, replicas: int, **fields: Any) -> None:
    simulation.update(build_spec(ONE, serving={"replicas": replicas}, **fields))


def distort(simulation: Simulation, is_it: Callable[[Mapping[str, Any]], bool]) -> None:
    """Have a config embed otherwise under the real name alone: the candidate's proof does not find it."""
    simulation.triton.distorts = lambda model, config: model == "clip" and is_it(config)


def heard(simulation: Simulation, pod: str) -> list[str]:
    """Give what a server was told, without the versions."""
    return [line.split(" on ")[0] for line in simulation.triton.seen if line.endswith(f" on {pod}")]


async def assert_as_before(simulation: Simulation, committed: Mapping[str, Any], reason: str, replicas: int) -> None:
    """All pods run what was committed, status says so, and nothing more is loaded in two hours of sweeps."""
    assert configs(simulation) == [config_id(committed)] * replicas, simulation.log[-20:]
    assert simulation.says("Stalled") == ("True", reason)
    assert "Meanwhile version 1 serves." in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert simulation.status["servingVersions"] == [1]
    assert simulation.status["readyReplicas"] == replicas
    loads = sum(w.startswith("load ") for w in simulation.cluster.writes)
    for _ in range(12):
        simulation.advance(600)
        simulation.queue.add(KEY)
        await simulation.settle_waiting(seconds=60)
    assert sum(w.startswith("load ") for w in simulation.cluster.writes) == loads
    assert configs(simulation) == [config_id(committed)] * replicas


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("replicas", [1, 2, 3])
async def test_a_config_that_embeds_otherwise_is_never_loaded_under_the_real_name(edit: str, replicas: int) -> None:
    """One pod finds it out, under the candidate's name."""
    simulation, committed = await served(replicas)
    fields, is_it = EDITS[edit]
    simulation.triton.distorts = lambda _model, config: is_it(config)
    simulation.triton.seen.clear()
    change(simulation, replicas, **fields)
    await simulation.settle_waiting(seconds=60)
    await assert_as_before(simulation, committed, "GoldenCheckFailed", replicas)
    assert [line.rpartition(" on ")[0] for line in simulation.triton.seen] == [
        "load clip__candidate [1]",
        "unload clip__candidate",
    ]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("replicas", [1, 2, 3])
async def test_a_config_that_embeds_otherwise_under_the_real_name_leaves_what_served(edit: str, replicas: int) -> None:
    """A pod that found it out serves nothing until it has what served again, which it has proven before."""
    simulation, committed = await served(replicas)
    fields, is_it = EDITS[edit]
    distort(simulation, is_it)
    simulation.triton.seen.clear()
    change(simulation, replicas, **fields)
    await simulation.settle_waiting(seconds=60)
    await assert_as_before(simulation, committed, "GoldenCheckFailed", replicas)
    proof, switch = ["load clip__candidate [1]", "unload clip__candidate"], "load clip [1]"
    for server in simulation.ready_servers():
        assert heard(simulation, server.pod) == [*proof, switch, "unload clip", switch]


@pytest.mark.parametrize("edit", EDITS)
async def test_a_second_pod_that_refuses_a_config_brings_the_first_one_back(edit: str) -> None:
    """It is tried again, less and less often, and not for ever: what a file system or a GPU did not give it may give in a while."""
    simulation, committed = await served(2)
    fields, is_it = EDITS[edit]
    first = simulation.ready_servers()[0].pod
    simulation.triton.faults = [Fault(Harm.REFUSED, is_it, frozenset({At.REAL}), lambda pod: pod != first)]
    tried, before_write = list[float](), simulation.cluster.before_write

    def note(what: str) -> None:
        """Note when the failing config is about to be loaded under the real name."""
        before_write(what)
        if what == "load clip" and simulation.triton.last_load != config_id(committed):
            tried.append(simulation.clock.seconds)

    simulation.cluster.before_write = note
    change(simulation, 2, **fields)
    await simulation.settle()
    assert configs(simulation) == [config_id(committed)] * 2, "at once, and not only when it is given up"
    assert simulation.says("Ready") == ("False", "ServerRejected")
    assert simulation.says("Stalled") is None
    assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")
    assert "Tried again at" in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    await simulation.settle_waiting(seconds=3 * 3600)
    assert [round(t / 60) for t in waits(tried[::2])] == [1, 4, 16, 60]
    assert tried[::2] == tried[1::2], "both pods, each time"
    await assert_as_before(simulation, committed, "ServerRejected", 2)


def waits(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


@pytest.mark.parametrize("lost", [1, 2, 5])
@pytest.mark.parametrize("is_done", [False, True], ids=["the request is lost", "the answer is lost"])
async def test_bringing_back_is_tried_until_it_is_heard(lost: int, *, is_done: bool) -> None:
    """Where the answer is lost as well: only the answer to a load tells that no earlier one comes after it."""
    simulation, committed = await served(2)
    fields, is_it = EDITS["optimization"]
    distort(simulation, is_it)
    left, sent = lost, 0
    before_or_after = simulation.cluster.after_write if is_done else simulation.cluster.before_write

    def lose(what: str) -> None:
        """Lose requests that come after the failing config: those that bring a server back."""
        nonlocal left, sent
        before_or_after(what)
        if what == "load clip" and simulation.triton.last_load == config_id(committed):
            sent += 1
            if left:
                left -= 1
                raise RetryError("lost")

    setattr(simulation.cluster, "after_write" if is_done else "before_write", lose)
    change(simulation, 2, **fields)
    await simulation.settle_waiting(seconds=1200)
    assert left == 0
    unsure = min(lost, 2)
    assert sent == lost + 2 + unsure, "what was heard is not sent again, but for the one load that finds nothing to do"
    await assert_as_before(simulation, committed, "GoldenCheckFailed", 2)


async def test_a_corrected_spec_is_taken_over_after_a_failure() -> None:
    simulation, _ = await served(2)
    fields, is_it = EDITS["batching"]
    distort(simulation, is_it)
    change(simulation, 2, **fields)
    await simulation.settle_waiting(seconds=60)
    change(simulation, 2, batching={"maxQueueDelay": "7ms"})
    await simulation.settle()
    simulation.assert_ready(1)
    for server in simulation.ready_servers():
        assert server.configs["clip"]["dynamic_batching"]["max_queue_delay_microseconds"] == 7000
    await simulation.assert_converged()


# What else happens while servers are being brought back.


async def failing(replicas: int, *, lost: int) -> tuple[Simulation, Mapping[str, Any]]:
    """Give a world in which an edit has failed, and the first requests to bring servers back are lost."""
    simulation, committed = await served(replicas)
    fields, is_it = EDITS["optimization"]
    distort(simulation, is_it)
    before, left = simulation.cluster.before_write, lost

    def lose(what: str) -> None:
        nonlocal left
        before(what)
        if what == "load clip" and left and simulation.triton.last_load == config_id(committed):
            left -= 1
            raise RetryError("lost")

    simulation.cluster.before_write = lose
    change(simulation, replicas, **fields)
    await simulation.settle()
    assert left < lost, "servers are being brought back"
    return simulation, committed


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("fields", [{}, {"batching": {"maxQueueDelay": "7ms"}}], ids=["a revert", "another edit"])
async def test_an_edit_in_the_middle_is_taken_over(replicas: int, fields: dict[str, Any]) -> None:
    simulation, _ = await failing(replicas, lost=3)
    change(simulation, replicas, **fields)
    await simulation.settle_waiting(seconds=1200)
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_a_pod_that_restarts_in_the_middle_comes_back_with_what_is_committed() -> None:
    simulation, committed = await failing(2, lost=2)
    simulation.kubelet.restart(simulation.pods()[1])
    await simulation.settle_waiting(seconds=1200)
    assert configs(simulation) == [config_id(committed)] * 2
    assert simulation.status["readyReplicas"] == 2


async def test_a_version_that_comes_in_the_middle_does_not_bring_the_failing_config_along() -> None:
    simulation, committed = await failing(2, lost=1)
    simulation.update(build_spec(ONE, TWO, serving={"replicas": 2}, **EDITS["optimization"][0]))
    await simulation.settle_waiting(seconds=1200)
    assert configs(simulation) == [config_id(committed)] * 2
    assert simulation.status["servingVersions"] == [1]


async def test_where_no_event_comes_the_sweep_is_enough() -> None:
    simulation, committed = await failing(1, lost=1)
    simulation.cluster.undelivered.clear()
    simulation.queue.add(KEY)
    await simulation.settle_waiting(seconds=60)
    assert configs(simulation) == [config_id(committed)]
