"""Reading a ClipModel: what the CRD should have refused is named field by field; what a newer release wrote is survived."""

from __future__ import annotations

import pytest

from clipmodel_operator.api.v1alpha1.clipmodel import parse_clip_model, parse_status
from clipmodel_operator.api.v1alpha1.status import PodStatus, RolloutPhase
from clipmodel_operator.models.errors import StalledError
from support.builders import build_model, build_object, build_spec, build_version


def test_defaults() -> None:
    model = build_model()
    assert model.model_name == "clip"
    assert model.spec.batching.effective_preferred_batch_sizes == (4, 8, 16, 32)
    assert model.spec.batching.max_queue_delay_us == 5000
    assert (model.spec.serving.replicas, model.spec.storage.size) == (1, "5Gi")
    assert (model.tensors.image_size, model.tensors.dimension) == (224, 512)


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (3, (3,)), (4, (4,)), (20, (4, 8, 16)), (1024, (4, 8, 16, 32))]
)
def test_default_preferred_sizes_do_not_exceed_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert (
        build_model(build_spec(batching={"maxBatchSize": largest})).spec.batching.effective_preferred_batch_sizes
        == sizes
    )


def test_the_served_name_follows_the_resources() -> None:
    assert build_model(name="open-clip-b32").model_name == "open_clip_b32"
    assert build_model(build_spec(modelName="Mine"), name="open-clip").model_name == "Mine"


def test_every_wrong_field_is_named() -> None:
    spec = build_spec(build_version(sha256="abc"), profile="tpu", batching={"maxQueueDelay": "soon"})
    with pytest.raises(StalledError) as raised:
        build_model(spec)
    assert raised.value.reason == "InvalidSpec"
    for field in ("spec.profile", "spec.versions.0.source.sha256", "spec.batching.maxQueueDelay"):
        assert field in str(raised.value)
    assert "Correct the spec" in str(raised.value)


@pytest.mark.parametrize("spec", [{}, {"profile": "cpu"}, {"profile": "cpu", "versions": []}])
def test_a_spec_without_what_it_needs_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(StalledError):
        build_model(spec)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "ftp://host/file",
        "https://",
        "https://host",
        "file:///etc/passwd",
        "pvc://claim",
        "pvc://Claim/x",
        "https://host/a b",
    ],
)
def test_uris_that_nobody_can_fetch_are_refused(uri: str) -> None:
    with pytest.raises(StalledError):
        build_model(build_spec(build_version(uri=uri)))


def test_unknown_fields_of_a_newer_crd_are_survived() -> None:
    assert build_model(build_spec(fieldOfTomorrow={"dimension": 768})).spec.profile == "cpu"


def test_a_status_of_another_release_counts_as_none() -> None:
    assert (
        parse_status(
            {"status": {"observedGeneration": 3, "versions": [{"version": 1, "state": "Dreaming"}]}}
        ).observed_generation
        == -1
    )
    assert parse_clip_model(build_object(status={"conditions": "none"})).status.conditions == []


def test_servers_change_in_place_unless_told_otherwise() -> None:
    assert build_model().spec.rollout.strategy == "InPlace"
    assert build_model(build_spec(rollout={"strategy": "Replace"})).spec.rollout.strategy == "Replace"
    with pytest.raises(StalledError, match=r"spec\.rollout\.strategy"):
        build_model(build_spec(rollout={"strategy": "Recreate"}))


ROLLOUT = {
    "provenRevision": "r1",
    "targetRevision": "r2",
    "phase": "Waiting",
    "tries": 2,
    "notBefore": "2026-11-22T12:04:00Z",
    "reason": "Triton refuses the configuration",
}


def test_revisions_in_status_are_written_as_they_are_read() -> None:
    status = {"rollout": ROLLOUT, "pods": [{"name": "clip-0", "revision": "r1", "ready": True}]}
    read = parse_status({"status": status})
    written = read.to_manifest()
    assert {key: written[key] for key in status} == status
    assert read.rollout is not None
    assert (read.rollout.phase, read.rollout.not_before) == (RolloutPhase.WAITING, ROLLOUT["notBefore"])


def test_a_status_without_revisions_is_one_of_before_the_first_sync_or_of_another_release() -> None:
    status = parse_status({"status": {"observedGeneration": 3}})
    assert (status.rollout, status.pods) == (None, [])
    assert "rollout" not in status.to_manifest()


def test_what_is_not_known_of_a_pod_is_left_out() -> None:
    assert PodStatus(name="clip-0", ready=False).to_manifest() == {"name": "clip-0", "ready": False}


def test_the_owner_reference_names_the_resource() -> None:
    model = build_model()
    assert model.owner_reference == {
        "apiVersion": "clipmodel.dev/v1alpha1",
        "kind": "ClipModel",
        "name": "clip",
        "uid": model.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
