"""The life of a ClipModel, from applied to gone, with the real reconciler over a cluster in memory."""

from __future__ import annotations

from clipmodel_operator.models import names
from support.builders import SHA_1, VECTORS_1, build_spec, build_version
from support.fake_triton import Upload
from support.simulation import KEY, Simulation, build_ready

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
operator: apply ClipModel clip status
POD: is ready
operator: apply ConfigMap clip-config
operator: apply ClipModel clip status
operator: create Event Serving"""


async def test_a_clip_model_that_is_applied_becomes_ready_in_this_order() -> None:
    simulation = await build_ready()
    log = "\n".join(simulation.log)
    for kind, word in (("Job", "JOB"), ("Secret", "SECRET")):
        log = log.replace(simulation.cluster.get(kind)["metadata"]["name"], word)
    assert log.replace(simulation.pods()[0]["metadata"]["name"], "POD") == FIRST
    assert simulation.events() == ["Syncing", "VersionSynced", "Serving"]
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


async def test_a_ready_pod_that_answered_wrongly_for_a_while_heals_with_the_pod() -> None:
    """It leaves the Service, and proves what is committed again and again; for no edit of the spec will come. Why is told once, and for as long as it is so."""
    simulation = await build_ready()
    simulation.triton.serves_wrong = True
    await simulation.restart_operator()
    before = simulation.events()
    for _ in range(3):
        await simulation.settle_waiting(seconds=300)
        assert simulation.says("Stalled") == ("True", "GoldenCheckFailed")
        assert not simulation.ready_servers()
    assert simulation.events()[len(before) :] == ["GoldenCheckFailed"]
    assert "load clip [1]" not in " ".join(simulation.cluster.writes), "nothing under the real name that differs"
    simulation.triton.serves_wrong = False
    await simulation.settle_waiting(seconds=300)
    simulation.assert_ready()
    await simulation.assert_converged()


async def test_a_container_that_restarted_is_asked_again() -> None:
    simulation = await build_ready()
    pod = simulation.pods()[0]
    simulation.triton.serves_wrong = True
    simulation.queue.add(KEY)
    await simulation.settle()
    assert simulation.says("Ready") == ("True", "Serving"), "one proof holds for one run of a pod"
    simulation.cluster.edit(pod, lambda o: o["status"]["containerStatuses"][0].update(containerID="containerd://other"))
    await simulation.settle()
    assert simulation.says("Stalled") == ("True", "GoldenCheckFailed")


async def test_a_pod_that_is_asked_once_is_not_asked_again() -> None:
    simulation = await build_ready()
    asked = simulation.triton.asked
    for _ in range(5):
        simulation.queue.add(KEY)
        await simulation.settle()
    assert simulation.triton.asked == asked


async def test_scaled_to_zero_and_back() -> None:
    simulation = await build_ready()
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
    simulation = await build_ready()
    simulation.update(build_spec(profile="gpu"))
    await simulation.settle()
    simulation.assert_ready()
    assert simulation.pods()[0]["metadata"]["annotations"][names.ANNOTATION_PROFILE] == "gpu"
    assert {"cpu.pbtxt", "gpu.pbtxt"} <= set(simulation.cluster.get("ConfigMap")["data"])
    await simulation.assert_converged()


async def test_while_the_operator_is_down_a_new_pod_comes_up_proven() -> None:
    simulation = await build_ready()
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
    simulation = await build_ready()
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
