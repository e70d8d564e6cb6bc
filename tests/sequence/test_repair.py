"""What is deleted or edited by hand is put right; what others added is left."""

from __future__ import annotations

import pytest

from clipmodel_operator.models import names
from support.builders import NAME, SHA_1, SHA_2
from support.simulation import build_ready


@pytest.mark.parametrize("kind", ["ConfigMap", "Service", "Deployment"])
async def test_what_is_deleted_is_made_again(kind: str) -> None:
    simulation = await build_ready()
    simulation.cluster.remove(simulation.cluster.get(kind))
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_deleted_config_map_comes_back_with_the_same_bytes() -> None:
    simulation = await build_ready()
    before = simulation.cluster.get("ConfigMap")["data"]
    template = simulation.cluster.get("Deployment")["spec"]["template"]
    simulation.cluster.remove(simulation.cluster.get("ConfigMap"))
    await simulation.settle()
    assert simulation.cluster.get("ConfigMap")["data"] == before
    assert simulation.cluster.get("Deployment")["spec"]["template"] == template, "no pod restarts"


async def test_a_config_map_and_the_job_lost_together_are_read_from_the_volume() -> None:
    simulation = await build_ready()
    simulation.cluster.remove(simulation.cluster.all("Job")[0])
    simulation.cluster.remove(simulation.cluster.get("ConfigMap"))
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_config_map_that_was_edited_by_hand_is_put_right() -> None:
    simulation = await build_ready()
    before = simulation.cluster.get("ConfigMap")["data"]
    simulation.cluster.edit(
        simulation.cluster.get("ConfigMap"), lambda o: o["data"].update({"cpu.pbtxt": "max_batch_size: 1"})
    )
    await simulation.settle()
    assert simulation.cluster.get("ConfigMap")["data"] == before
    simulation.assert_ready()


async def test_golden_vectors_that_were_edited_by_hand_are_not_believed() -> None:
    simulation = await build_ready()
    before = simulation.cluster.get("ConfigMap")["data"]

    def forge(obj: dict[str, dict[str, str]]) -> None:
        obj["data"]["versions.json"] = obj["data"]["versions.json"].replace(SHA_1, SHA_2)

    simulation.cluster.edit(simulation.cluster.get("ConfigMap"), forge)
    await simulation.settle()
    assert simulation.cluster.get("ConfigMap")["data"] == before
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_the_service_is_put_right_and_others_fields_are_left() -> None:
    simulation = await build_ready()

    def meddle(obj: dict[str, dict[str, dict[str, str]]]) -> None:
        obj["spec"]["selector"][names.LABEL_MODEL] = "someone-else"
        obj["metadata"].setdefault("annotations", {})["mesh.example.com/inject"] = "yes"

    simulation.cluster.edit(simulation.cluster.get("Service"), meddle)
    await simulation.settle()
    service = simulation.cluster.find("Service")
    assert service is not None
    assert service["spec"]["selector"][names.LABEL_MODEL] == NAME
    assert service["metadata"]["annotations"]["mesh.example.com/inject"] == "yes"
    assert service["spec"]["clusterIP"] == "10.96.0.7"
    await simulation.assert_converged()


async def test_a_secret_that_was_deleted_is_made_again_when_a_pod_needs_it() -> None:
    simulation = await build_ready()
    simulation.cluster.remove(simulation.cluster.get("Secret"))
    simulation.cluster.remove(simulation.pods()[0])
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.cluster.find("Secret") is not None


async def test_a_status_that_was_wiped_comes_back() -> None:
    simulation = await build_ready()
    before = dict(simulation.status)
    simulation.cluster.edit(simulation.clip, lambda o: o.update(status={"observedGeneration": -1}))
    await simulation.settle()
    after = dict(simulation.status)
    assert {c["type"]: c["reason"] for c in after.pop("conditions")} == {
        c["type"]: c["reason"] for c in before.pop("conditions")
    }
    assert after == before
    await simulation.assert_converged()


async def test_the_whole_volume_lost_with_the_claim_is_fetched_again() -> None:
    simulation = await build_ready()
    simulation.cluster.remove(simulation.cluster.get("ClipModel"))
    simulation.cluster.remove(simulation.cluster.get("PersistentVolumeClaim"))
    simulation.kubelet.volumes.clear()
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()
