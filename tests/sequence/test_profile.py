"""Profile auto: chosen once, from nodes that are listed only then, and not without the right to list them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clipmodel_operator.models import names
from clipmodel_operator.models.errors import ForbiddenError
from clipmodel_operator.models.resources import CONFIG_MAPS, DEPLOYMENTS, JOBS
from support.builders import NAME, build_spec
from support.simulation import KEY, Simulation

GPU = "nvidia.com/gpu"


def node(allocatable: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1", "namespace": ""},
        "status": {"allocatable": {"cpu": "2", **allocatable}},
    }


def auto(**fields: Any) -> dict[str, Any]:
    return build_spec() | {"profile": "auto"} | fields


def rendered_profile(simulation: Simulation) -> str:
    deployment = simulation.cluster.find(DEPLOYMENTS.kind, NAME)
    assert deployment is not None
    found: str = deployment["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_PROFILE]
    return found


def offer(simulation: Simulation, count: int) -> None:
    for old in simulation.cluster.all("Node"):
        simulation.cluster.remove(old)
    simulation.cluster.add(node({GPU: str(count)}))


@pytest.mark.parametrize(("first", "later", "profile"), [(0, 1, "cpu"), (1, 0, "gpu")])
@pytest.mark.parametrize("lost", ["nothing", "the status", "the Deployment"])
async def test_a_choice_stays(first: int, later: int, profile: str, lost: str) -> None:
    """Whatever comes and goes, for as long as the Deployment or the status is there to say it."""
    simulation = Simulation()
    offer(simulation, first)
    simulation.create(auto())
    await simulation.settle()
    simulation.assert_ready()
    assert (simulation.status["profile"], rendered_profile(simulation)) == (profile, profile)
    config_map = simulation.cluster.find(CONFIG_MAPS.kind)
    assert config_map is not None
    assert {"cpu.pbtxt", "gpu.pbtxt"} <= config_map["data"].keys()

    offer(simulation, later)
    await simulation.assert_converged()
    if lost == "the status":
        simulation.cluster.edit(simulation.clip, lambda clip: clip.update(status={}))
    elif lost == "the Deployment":
        deployment = simulation.cluster.find(DEPLOYMENTS.kind, NAME)
        assert deployment is not None
        simulation.cluster.remove(deployment)
    await simulation.restart_operator()
    simulation.update(auto(serving={"podAnnotations": {"example.com/edit": "1"}}))
    await simulation.settle()
    simulation.assert_ready()
    assert (simulation.status["profile"], rendered_profile(simulation)) == (profile, profile)


async def test_the_resource_that_serving_gpu_names_decides() -> None:
    simulation = Simulation()
    simulation.cluster.add(node({"nvidia.com/gpu.shared": "4"}))
    simulation.create(auto(serving={"gpu": {"resourceName": "nvidia.com/gpu.shared"}}))
    await simulation.settle()
    assert simulation.status["profile"] == "gpu"


async def test_the_spec_decides_against_the_choice() -> None:
    simulation = Simulation()
    offer(simulation, 0)
    simulation.create(auto())
    await simulation.settle()
    simulation.update(build_spec() | {"profile": "gpu"})
    await simulation.settle()
    assert (simulation.status["profile"], rendered_profile(simulation)) == ("gpu", "gpu")


def refuse_to_list(what: str) -> None:
    if what == "list Node":
        raise ForbiddenError("GET /api/v1/nodes: nodes is forbidden")


@pytest.mark.parametrize("serving", [{}, {"gpu": {"resourceName": "a.very.long.vendor.example.com/" + "x" * 63}}])
async def test_without_the_right_status_says_where_to_get_it(serving: Mapping[str, Any]) -> None:
    simulation = Simulation()
    offer(simulation, 0)
    simulation.cluster.before_read = refuse_to_list
    simulation.create(auto(serving=serving))
    simulation.deliver_all()
    await simulation.work()
    assert simulation.says("Ready") == ("False", "ApiUnavailable")
    assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")
    ready = simulation.condition("Ready")
    assert ready is not None
    assert "kubectl apply --server-side -k manifests/auto-profile" in ready["message"]
    assert "set spec.profile to cpu or gpu." in ready["message"]
    assert simulation.cluster.all(JOBS.kind) == []

    simulation.cluster.before_read = lambda _: None
    simulation.queue.add(KEY)
    await simulation.settle_waiting(seconds=60)
    simulation.assert_ready()
    assert simulation.status["profile"] == "cpu"


async def test_nodes_are_listed_for_auto_alone() -> None:
    """Whoever says cpu or gpu needs no right to list nodes; nor does what has chosen already."""
    simulation = Simulation()
    simulation.cluster.before_read = refuse_to_list
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()
    simulation.update(auto())
    await simulation.settle()
    simulation.assert_ready()
