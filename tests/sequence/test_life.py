"""The life of a ClipModel, from applied to gone, with the real reconciler over a cluster in memory."""

from __future__ import annotations

import pytest

from clipmodel_operator.models import names
from support.builders import NAME, SHA_1, SHA_2, TWO, URI_1, URI_2, VECTORS_1, build_spec, build_version
from support.fake_triton import Upload
from support.simulation import KEY, Simulation

FIRST = """\
user: creates the ClipModel
operator: apply PersistentVolumeClaim clip-models
operator: create Job JOB
operator: apply ClipModel clip status
operator: apply ClipModel clip status
operator: create Event Syncing
JOB: makes a pod
JOB: the pod runs
operator: apply ConfigMap clip-config
operator: apply Service clip
operator: create Secret SECRET
operator: apply Deployment clip
operator: apply ClipModel clip status
operator: create Event VersionSynced
JOB: completes
clip: makes a pod
operator: apply ClipModel clip status
clip: counts its pods
POD: starts
POD: is ready
operator: apply ClipModel clip status
operator: create Event Serving"""


async def ready() -> Simulation:
    simulation = Simulation()
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()
    return simulation


def found(simulation: Simulation, kind: str, name: str | None = None) -> dict[str, object]:
    obj = simulation.cluster.find(kind, name)
    assert obj is not None, f"no {kind}"
    return obj


async def test_a_clip_model_that_is_applied_becomes_ready_in_this_order() -> None:
    simulation = await ready()
    log = "\n".join(simulation.log)
    for kind, word in (("Job", "JOB"), ("Secret", "SECRET")):
        log = log.replace(found(simulation, kind)["metadata"]["name"], word)  # type: ignore[index]  # JSON
    assert log.replace(simulation.pods()[0]["metadata"]["name"], "POD") == FIRST
    assert simulation.events() == ["Syncing", "VersionSynced", "Serving"]
    await simulation.assert_converged()


async def test_a_wrong_digest_stalls_and_a_corrected_one_becomes_ready() -> None:
    simulation = Simulation()
    simulation.create(build_spec(build_version(sha256=SHA_2)))
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "DigestMismatch")
    assert simulation.says("Stalled") == ("True", "DigestMismatch")
    assert simulation.condition("Reconciling") is None
    assert simulation.status["versions"][0]["state"] == "Failed"
    assert simulation.cluster.find("Deployment") is None
    await simulation.assert_converged()
    simulation.update(build_spec())
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.events() == ["Syncing", "DigestMismatch", "Syncing", "VersionSynced", "Serving"]
    await simulation.assert_converged()


async def test_a_spec_that_cannot_be_read_stalls_and_is_healed_by_a_better_one() -> None:
    simulation = Simulation()
    simulation.create({"profile": "tpu", "versions": []})
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "InvalidSpec")
    assert "spec.profile" in str(simulation.condition("Ready"))
    await simulation.assert_converged()
    simulation.update(build_spec())
    await simulation.settle()
    simulation.assert_ready()


async def test_a_source_that_is_away_for_a_while_is_tried_again() -> None:
    simulation = Simulation()
    simulation.kubelet.uploads[URI_1].failure = ("Retry", "SourceUnavailable")
    simulation.create()
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "SourceUnavailable")
    assert simulation.says("Reconciling") == ("True", "ProgressingWithRetry")
    assert simulation.condition("Stalled") is None
    assert len(simulation.cluster.all("Pod")) == 4, "the Job's own tries"
    job = simulation.cluster.all("Job")[0]["metadata"]["uid"]
    await simulation.assert_converged()
    simulation.advance(60)
    await simulation.settle()
    assert simulation.cluster.all("Job")[0]["metadata"]["uid"] == job, "not before five minutes"
    simulation.kubelet.uploads[URI_1].failure = None
    await simulation.settle_waiting(seconds=600)
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_source_that_stays_away_is_asked_every_five_minutes_and_no_more() -> None:
    simulation = Simulation()
    simulation.kubelet.uploads[URI_1].failure = ("Retry", "SourceUnavailable")
    simulation.create()
    await simulation.settle_waiting(seconds=3600)
    made = sum(w.startswith("create Job") for w in simulation.cluster.writes)
    assert 11 <= made <= 13


async def test_a_report_that_is_lost_is_read_again_from_the_volume() -> None:
    simulation = Simulation()
    simulation.kubelet.loses_reports = True
    simulation.create()
    for _ in range(400):
        simulation.deliver_all()
        if len(simulation.queue):
            await simulation.work()
        elif any(
            c["type"] == "Complete"
            for j in simulation.cluster.all("Job")
            for c in j.get("status", {}).get("conditions", ())
        ):
            break
        else:
            simulation._step(simulation.controllers.steps()[0])
    simulation.kubelet.loses_reports = False
    await simulation.settle()
    simulation.assert_ready()
    assert any(w.startswith("delete Job") for w in simulation.cluster.writes)


async def test_version_1_serves_until_version_2_is_synced() -> None:
    simulation = await ready()
    simulation.kubelet.uploads[URI_2].failure = ("Retry", "SourceUnavailable")
    simulation.update(build_spec(TWO))
    await simulation.settle()
    assert simulation.can_embed(1)
    assert simulation.status["servingVersions"] == [1]
    assert simulation.says("Ready") == ("False", "SourceUnavailable")
    assert simulation.says("Available") == ("True", "PodsReady")
    assert "Meanwhile version 1 serves." in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    simulation.kubelet.uploads[URI_2].failure = None
    await simulation.settle_waiting(seconds=600)
    simulation.assert_ready(2)
    assert [v["version"] for v in simulation.status["versions"]] == [2]
    await simulation.assert_converged()


async def test_a_version_2_of_wrong_bytes_leaves_version_1_alone() -> None:
    simulation = await ready()
    before = simulation.pods()
    simulation.update(build_spec(build_version(2, uri=URI_2, sha256="3" * 64)))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "DigestMismatch")
    assert simulation.status["servingVersions"] == [1]
    assert [p["metadata"]["uid"] for p in simulation.pods()] == [p["metadata"]["uid"] for p in before]
    simulation.update(build_spec())
    await simulation.settle()
    simulation.assert_ready(1)
    await simulation.assert_converged()


async def test_other_bytes_under_a_version_that_is_on_the_volume_are_refused() -> None:
    simulation = await ready()
    simulation.update(build_spec(build_version(uri=URI_2, sha256=SHA_2)))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "VersionImmutable")
    assert simulation.can_embed(1)


async def test_wrong_embeddings_stall_and_right_ones_heal() -> None:
    simulation = Simulation()
    simulation.triton.serves_wrong = True
    simulation.create()
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "GoldenCheckFailed")
    assert simulation.says("Verified") == ("False", "GoldenCheckFailed")
    assert simulation.status["servingVersions"] == []
    simulation.triton.serves_wrong = False
    await simulation.settle_waiting(seconds=60)
    simulation.assert_ready()


async def test_a_container_that_restarted_is_asked_again() -> None:
    simulation = await ready()
    pod = simulation.pods()[0]
    simulation.triton.serves_wrong = True
    simulation.queue.add(KEY)
    await simulation.settle()
    assert simulation.says("Ready") == ("True", "Serving"), "one proof holds for one run of a pod"
    simulation.cluster.edit(pod, lambda o: o["status"]["containerStatuses"][0].update(containerID="containerd://other"))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "GoldenCheckFailed")


async def test_a_pod_that_is_asked_once_is_not_asked_again() -> None:
    simulation = await ready()
    asked = simulation.triton.asked
    for _ in range(5):
        simulation.queue.add(KEY)
        await simulation.settle()
    assert simulation.triton.asked == asked


async def test_scaled_to_zero_and_back() -> None:
    simulation = await ready()
    simulation.update(build_spec(serving={"replicas": 0}))
    await simulation.settle()
    assert simulation.says("Ready") == ("False", "ScaledToZero")
    assert simulation.condition("Stalled") is None
    assert simulation.condition("Reconciling") is None
    await simulation.assert_converged()
    simulation.update(build_spec(serving={"replicas": 2}))
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.status["readyReplicas"] == 2


async def test_from_cpu_to_gpu_pods_are_replaced_and_old_ones_find_their_config() -> None:
    simulation = await ready()
    simulation.update(build_spec(profile="gpu"))
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.pods()[0]["metadata"]["annotations"][names.ANNOTATION_PROFILE] == "gpu"
    assert {"cpu.pbtxt", "gpu.pbtxt"} <= set(simulation.cluster.find("ConfigMap")["data"])  # type: ignore[index]  # it is there
    await simulation.assert_converged()


# Repairs.


@pytest.mark.parametrize("kind", ["ConfigMap", "Service", "Deployment"])
async def test_what_is_deleted_is_made_again(kind: str) -> None:
    simulation = await ready()
    simulation.cluster.remove(found(simulation, kind))
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_deleted_config_map_comes_back_with_the_same_bytes() -> None:
    simulation = await ready()
    before = found(simulation, "ConfigMap")["data"]
    template = simulation.cluster.find("Deployment")["spec"]["template"]  # type: ignore[index]  # it is there
    simulation.cluster.remove(found(simulation, "ConfigMap"))
    await simulation.settle()
    assert found(simulation, "ConfigMap")["data"] == before
    assert simulation.cluster.find("Deployment")["spec"]["template"] == template, "no pod restarts"  # type: ignore[index]  # it is there


async def test_a_config_map_and_the_job_lost_together_are_read_from_the_volume() -> None:
    simulation = await ready()
    simulation.cluster.remove(simulation.cluster.all("Job")[0])
    simulation.cluster.remove(found(simulation, "ConfigMap"))
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_config_map_that_was_edited_by_hand_is_put_right() -> None:
    simulation = await ready()
    before = found(simulation, "ConfigMap")["data"]
    simulation.cluster.edit(
        found(simulation, "ConfigMap"), lambda o: o["data"].update({"cpu.pbtxt": "max_batch_size: 1"})
    )
    await simulation.settle()
    assert found(simulation, "ConfigMap")["data"] == before
    simulation.assert_ready()


async def test_golden_vectors_that_were_edited_by_hand_are_not_believed() -> None:
    simulation = await ready()
    before = found(simulation, "ConfigMap")["data"]

    def forge(obj: dict[str, dict[str, str]]) -> None:
        obj["data"]["versions.json"] = obj["data"]["versions.json"].replace(SHA_1, SHA_2)

    simulation.cluster.edit(found(simulation, "ConfigMap"), forge)
    await simulation.settle()
    assert found(simulation, "ConfigMap")["data"] == before
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_the_service_is_put_right_and_others_fields_are_left() -> None:
    simulation = await ready()

    def meddle(obj: dict[str, dict[str, dict[str, str]]]) -> None:
        obj["spec"]["selector"][names.LABEL_MODEL] = "someone-else"
        obj["metadata"].setdefault("annotations", {})["mesh.example.com/inject"] = "yes"

    simulation.cluster.edit(found(simulation, "Service"), meddle)
    await simulation.settle()
    service = simulation.cluster.find("Service")
    assert service is not None
    assert service["spec"]["selector"][names.LABEL_MODEL] == NAME
    assert service["metadata"]["annotations"]["mesh.example.com/inject"] == "yes"
    assert service["spec"]["clusterIP"] == "10.96.0.7"
    await simulation.assert_converged()


async def test_a_secret_that_was_deleted_is_made_again_when_a_pod_needs_it() -> None:
    simulation = await ready()
    simulation.cluster.remove(found(simulation, "Secret"))
    simulation.cluster.remove(simulation.pods()[0])
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.cluster.find("Secret") is not None


async def test_a_status_that_was_wiped_comes_back() -> None:
    simulation = await ready()
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
    simulation = await ready()
    simulation.cluster.remove(found(simulation, "ClipModel"))
    simulation.cluster.remove(found(simulation, "PersistentVolumeClaim"))
    simulation.kubelet.volumes.clear()
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()


# Others' objects, and the end.


SHOP = {"name": NAME, "namespace": "demo", "labels": {"app": "shop"}}
FOREIGN = {
    "Service": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    "Deployment": {"replicas": 0, "template": {"spec": {"containers": []}}},
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_what_somebody_else_has_under_our_name_is_left_alone(kind: str) -> None:
    simulation = Simulation()
    foreign = simulation.cluster.add({"apiVersion": "v1", "kind": kind, "metadata": dict(SHOP), "spec": FOREIGN[kind]})
    simulation.create()
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "ObjectRejected")
    assert f"{kind} clip" in simulation.condition("Ready")["message"]  # type: ignore[index]  # it is there
    assert simulation.cluster.find(kind) == foreign
    await simulation.assert_converged()
    simulation.cluster.remove(foreign)
    simulation.queue.add(KEY)  # as the sweep does
    await simulation.settle()
    simulation.assert_ready()


async def test_deletion_writes_nothing_and_leaves_only_a_retained_volume() -> None:
    simulation = await ready()
    before = len(simulation.cluster.writes)
    simulation.cluster.edit(simulation.clip, lambda o: o["metadata"].update(deletionTimestamp="2026-11-22T13:00:00Z"))
    await simulation.settle()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.cluster.writes[before:] == []
    assert {o["kind"] for o in simulation.cluster.objects.values()} == {"PersistentVolumeClaim", "Event"}


async def test_under_reclaim_policy_delete_the_volume_goes_too() -> None:
    simulation = Simulation()
    simulation.create(build_spec(storage={"reclaimPolicy": "Delete"}))
    await simulation.settle()
    simulation.assert_ready()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert {o["kind"] for o in simulation.cluster.objects.values()} == {"Event"}


async def test_changed_to_retain_the_volume_stays() -> None:
    simulation = Simulation()
    simulation.create(build_spec(storage={"reclaimPolicy": "Delete"}))
    await simulation.settle()
    simulation.update(build_spec(storage={"reclaimPolicy": "Retain"}))
    await simulation.settle()
    await simulation.assert_converged()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    assert simulation.cluster.find("PersistentVolumeClaim") is not None


async def test_a_retained_volume_is_found_again() -> None:
    simulation = await ready()
    simulation.cluster.remove(simulation.clip)
    await simulation.settle()
    simulation.kubelet.uploads.clear()  # the source is gone by now
    simulation.create()
    await simulation.settle()
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_while_the_operator_is_down_a_new_pod_comes_up_proven() -> None:
    simulation = await ready()
    before = len(simulation.cluster.writes)
    simulation.cluster.remove(simulation.pods()[0])
    while steps := simulation.controllers.steps():
        simulation._step(steps[0])
    assert simulation.can_embed(1)
    assert simulation.cluster.writes[before:] == []
    await simulation.restart_operator()
    await simulation.settle()
    simulation.assert_ready()


async def test_two_models_of_the_same_bytes_do_not_meet() -> None:
    simulation = await ready()
    simulation.kubelet.uploads["pvc://models/one.onnx"] = Upload(SHA_1, VECTORS_1)
    simulation.cluster.add({
        "apiVersion": "clipmodel.dev/v1alpha1",
        "kind": "ClipModel",
        "metadata": {"name": "other", "namespace": "demo"},
        "spec": build_spec(build_version(uri="pvc://models/one.onnx")),
    })  # fmt: skip
    await simulation.settle()
    other = simulation.cluster.find("ClipModel", "other")
    assert other is not None
    assert {c["type"]: c["status"] for c in other["status"]["conditions"]}["Ready"] == "True"
    assert len(simulation.cluster.all("Deployment")) == 2
