"""spec.paused: nothing is changed, and status goes on telling what is."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.models.resources import DEPLOYMENTS, JOBS
from support.builders import NAME, TWO, Object, build_spec, build_version
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


# In the middle of bringing pods to something else.


def loads(simulation: Simulation) -> list[str]:
    return [w.split(" on ")[0] for w in simulation.cluster.writes if w.startswith("load ")]


async def in_the_middle(*, of: str, spec: Object) -> Simulation:
    """Give a world of six pods of which one has been sent a load of a batching edit, and the user has said something else before it was answered."""
    simulation = await build_ready(build_spec(serving={"replicas": 6}))
    is_done = False

    def edit_meanwhile(what: str) -> None:
        nonlocal is_done
        if what == f"load {of}" and not is_done:
            is_done = True
            simulation.update(spec)
            simulation.deliver_all()

    simulation.cluster.before_write = edit_meanwhile
    simulation.update(build_spec(serving={"replicas": 6}, batching=FASTER))
    await simulation.settle()
    assert is_done
    return simulation


async def test_a_pause_in_the_middle_of_a_proof_is_heard_at_once() -> None:
    paused = build_spec(serving={"replicas": 6}, batching=FASTER, paused=True)
    simulation = await in_the_middle(of="clip__candidate", spec=paused)
    assert loads(simulation) == ["load clip__candidate [1]"], "what is under way ends, and nothing follows"
    await simulation.settle_waiting(seconds=3600)
    assert len(loads(simulation)) == 1
    assert simulation.says("Paused") == ("True", "Paused")
    assert simulation.can_embed(1)
    simulation.update(build_spec(serving={"replicas": 6}, batching=FASTER))
    await simulation.settle()
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_a_pause_in_the_middle_of_a_switch_stops_what_has_not_begun() -> None:
    """Steps are planned for all pods; each asks once more whether it is wanted when it begins."""
    paused = build_spec(serving={"replicas": 6}, batching=FASTER, paused=True)
    simulation = await in_the_middle(of="clip", spec=paused)
    before = loads(simulation)
    assert before == ["load clip__candidate [1]"] * 6 + ["load clip [1]"]
    await simulation.settle_waiting(seconds=3600)
    assert loads(simulation) == before
    simulation.update(build_spec(serving={"replicas": 6}, batching=FASTER))
    await simulation.settle()
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_a_revert_in_the_middle_of_a_proof_is_heard_at_once() -> None:
    simulation = await in_the_middle(of="clip__candidate", spec=build_spec(serving={"replicas": 6}))
    assert loads(simulation) == ["load clip__candidate [1]"]
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_a_deletion_in_the_middle_of_a_proof_is_heard_at_once() -> None:
    simulation = await build_ready(build_spec(serving={"replicas": 6}))

    def delete_meanwhile(what: str) -> None:
        if what == "load clip__candidate":
            simulation.cluster.remove(simulation.clip)
            simulation.deliver_all()

    simulation.cluster.before_write = delete_meanwhile
    simulation.update(build_spec(serving={"replicas": 6}, batching=FASTER))
    await simulation.settle()
    assert loads(simulation) == ["load clip__candidate [1]"]
