"""spec.paused: nothing is changed, and status goes on telling what is."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.models.resources import DEPLOYMENTS, JOBS
from support.builders import NAME, TWO, build_spec, build_version
from support.simulation import Simulation, build_ready

FASTER = {"maxQueueDelay": "1ms"}


def writes(simulation: Simulation) -> list[str]:
    return [w for w in simulation.cluster.writes if "status" not in w and "Event" not in w]


async def test_a_paused_model_serves_and_its_edits_wait() -> None:
    simulation = await build_ready()
    before, jobs = writes(simulation), len(simulation.cluster.all(JOBS.kind))
    simulation.update(build_spec(build_version(), TWO, batching=FASTER, paused=True))
    await simulation.settle_waiting()
    assert writes(simulation) == before
    assert len(simulation.cluster.all(JOBS.kind)) == jobs
    assert simulation.says("Paused") == ("True", "Paused")
    simulation.assert_ready()
    assert simulation.status["observedGeneration"] == simulation.clip["metadata"]["generation"]
    assert simulation.status["readyReplicas"] == 1, "what is committed runs, though the spec says something else"
    states = {v["version"]: (v["state"], v.get("message")) for v in simulation.status["versions"]}
    assert states[1][0] == "Serving"
    assert states[2] == ("Pending", "not fetched while spec.paused is true")

    simulation.update(build_spec(build_version(), TWO, batching=FASTER))
    await simulation.settle_waiting()
    assert simulation.says("Paused") is None
    simulation.assert_ready(2)


async def test_drift_is_left_alone_until_it_goes_on() -> None:
    simulation = await build_ready()
    simulation.update(build_spec(paused=True))
    await simulation.settle()

    def scale(obj: dict[str, Any]) -> None:
        obj["spec"]["replicas"] = 2

    deployment = simulation.cluster.find(DEPLOYMENTS.kind, NAME)
    assert deployment is not None
    simulation.cluster.edit(deployment, scale)
    await simulation.settle_waiting()
    simulation.assert_ready()
    found = simulation.cluster.find(DEPLOYMENTS.kind, NAME)
    assert found is not None
    assert found["spec"]["replicas"] == 2
    simulation.update(build_spec())
    await simulation.settle_waiting()
    found = simulation.cluster.find(DEPLOYMENTS.kind, NAME)
    assert found is not None
    assert found["spec"]["replicas"] == 1


async def test_what_was_never_served_is_not_called_ready() -> None:
    simulation = Simulation()
    simulation.create(build_spec(paused=True))
    await simulation.settle_waiting()
    assert writes(simulation) == []
    assert simulation.says("Ready") == ("False", "Paused")
    assert simulation.condition("Stalled") is None
    simulation.update(build_spec())
    await simulation.settle_waiting()
    simulation.assert_ready()


async def test_a_pod_that_goes_while_paused_is_not_covered_up() -> None:
    simulation = await build_ready()
    simulation.update(build_spec(paused=True))
    await simulation.settle()
    deployment = simulation.cluster.find(DEPLOYMENTS.kind, NAME)
    assert deployment is not None
    simulation.cluster.edit(deployment, lambda o: o["spec"].update(replicas=0))
    await simulation.settle_waiting()
    assert not simulation.pods()
    assert simulation.says("Ready") == ("False", "Paused")
    assert simulation.says("Available") is not None
