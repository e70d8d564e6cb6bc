"""What is remembered of pods: a proof holds for one run of a pod; a difference is asked for again, so that it heals when the pod does."""

from __future__ import annotations

from clipmodel_operator.api.v1alpha1.clipmodel import parse_clip_model
from clipmodel_operator.reconcile.fleet import Fleet
from clipmodel_operator.rendering.config_map import read_committed
from support.simulation import Simulation, build_ready


async def look(simulation: Simulation, fleet: Fleet) -> str | None:
    """Look at the one pod as a pass does, and give what differs."""
    (server,) = simulation.ready_servers()
    records = read_committed(simulation.cluster.find("ConfigMap")).records
    model = parse_clip_model(simulation.clip)
    (view,) = await fleet.look(model, simulation.pods(), records=records, control_key=server.control_key)
    return view.loaded.difference if view.loaded else "no answer"


async def test_a_difference_is_asked_for_again_and_a_proof_is_not() -> None:
    simulation = await build_ready()
    fleet, triton = Fleet(simulation.triton), simulation.triton
    triton.serves_wrong = True
    assert "version 1, golden image 0: cosine" in str(await look(simulation, fleet))
    triton.serves_wrong = False
    assert await look(simulation, fleet) is None
    asked = triton.asked
    triton.serves_wrong = True
    assert await look(simulation, fleet) is None, "proven, for this run of the pod"
    assert triton.asked == asked


async def test_no_answer_is_neither() -> None:
    simulation = await build_ready()
    fleet, triton = Fleet(simulation.triton), simulation.triton
    triton.answers = False
    assert await look(simulation, fleet) == "no answer"
    triton.answers = True
    assert await look(simulation, fleet) is None


async def test_another_run_and_another_resource_are_asked_anew() -> None:
    simulation = await build_ready()
    fleet, triton = Fleet(simulation.triton), simulation.triton
    assert await look(simulation, fleet) is None
    triton.serves_wrong = True
    fleet.forget(simulation.clip["metadata"]["uid"])
    assert await look(simulation, fleet) is not None
    triton.serves_wrong = False
    assert await look(simulation, fleet) is None
    triton.serves_wrong = True
    (pod,) = simulation.pods()
    simulation.cluster.edit(pod, lambda o: o["status"]["containerStatuses"][0].update(containerID="containerd://next"))
    assert await look(simulation, fleet) is not None


async def test_a_version_of_which_no_proof_is_known_is_a_difference() -> None:
    simulation = await build_ready()
    (server,) = simulation.ready_servers()
    found = server.configs["clip"]
    server.configs["clip"] = {**found, "version_policy": {"specific": {"versions": [1, 9]}}}
    assert "version 9, of which no proof is known" in str(await look(simulation, Fleet(simulation.triton)))
