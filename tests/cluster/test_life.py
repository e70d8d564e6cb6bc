"""What happens to a ClipModel that serves: it is deleted, changed, edited by hand; the operator is away, or dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from support.cluster import Namespace, OperatorPod, clip_model, condition, until

GONE_WITHIN_S = 60.0


def _ready(namespace: Namespace, source: tuple[str, str], name: str = "tiny", **spec: Any) -> None:
    uri, sha256 = source
    namespace.kubectl.apply(clip_model(name, uri=uri, sha256=sha256, **spec))
    namespace.wait_ready(name)


def _wait_gone(namespace: Namespace, name: str = "tiny") -> None:
    until(
        lambda: not namespace.children(name) or None,
        "everything is gone",
        deadline_s=GONE_WITHIN_S,
        seen=lambda: namespace.children(name),
    )


def test_deletion_leaves_nothing(namespace: Namespace, tiny: tuple[str, str]) -> None:
    _ready(namespace, tiny)
    assert namespace.children("tiny")
    namespace.kubectl("delete", "clip", "tiny")
    _wait_gone(namespace)


def test_deletion_leaves_nothing_while_the_operator_is_down(
    namespace: Namespace, operator: OperatorPod, tiny: tuple[str, str]
) -> None:
    _ready(namespace, tiny)
    with operator.down():
        namespace.kubectl("delete", "clip", "tiny")
        _wait_gone(namespace)


def test_a_retained_volume_is_found_again(namespace: Namespace, tiny: tuple[str, str]) -> None:
    """A second ClipModel of the name serves from the volume: its source need not be there any more."""
    retain = {"size": "1Gi", "reclaimPolicy": "Retain"}
    _ready(namespace, tiny, storage=retain)
    namespace.kubectl("delete", "clip", "tiny")
    claim = "persistentvolumeclaim/tiny-models"
    until(
        lambda: namespace.children("tiny") == [claim] or None,
        "only the claim is left",
        seen=lambda: namespace.children("tiny"),
    )
    _, sha256 = tiny
    namespace.kubectl.apply(clip_model("tiny", uri="http://nowhere.invalid/model.onnx", sha256=sha256, storage=retain))
    namespace.wait_ready("tiny")


def test_other_bytes_under_a_synced_version_are_refused_and_the_old_go_on(
    namespace: Namespace, tiny: tuple[str, str], other_tiny: tuple[str, str]
) -> None:
    _ready(namespace, tiny)
    uri, sha256 = other_tiny
    namespace.kubectl.apply(clip_model("tiny", uri=uri, sha256=sha256))
    ready = namespace.wait_reason("tiny", "Ready", "VersionImmutable")
    assert ready["status"] == "False"
    assert "version 1" in ready["message"]
    status = namespace.clip("tiny")["status"]
    assert status["servingVersions"] == [1]
    assert condition({"status": status}, "Available")["status"] == "True"  # type: ignore[index]  # it is there


def test_a_new_version_takes_the_place_of_the_old(
    namespace: Namespace, tiny: tuple[str, str], other_tiny: tuple[str, str]
) -> None:
    _ready(namespace, tiny)
    space = namespace.clip("tiny")["status"]["versions"][0]["embeddingSpaceId"]
    uri, sha256 = other_tiny
    new = clip_model("tiny", uri=uri, sha256=sha256, version=2)
    namespace.kubectl.apply(new)
    refused = namespace.wait_reason("tiny", "Stalled", "EmbeddingSpaceMismatch")
    assert "newEmbeddingSpace" in refused["message"]
    assert namespace.clip("tiny")["status"]["servingVersions"] == [1]
    new["spec"]["versions"][0]["newEmbeddingSpace"] = True
    namespace.kubectl.apply(new)
    status = namespace.wait_ready("tiny")["status"]
    assert status["servingVersions"] == [2]
    assert status["versions"][0]["sha256"] == sha256
    assert status["versions"][0]["embeddingSpaceId"] != space


@pytest.mark.parametrize(
    ("kind", "name", "patch", "path"),
    [
        (
            "service",
            "tiny",
            {"spec": {"selector": {"clipmodel.dev/model": "nobody"}}},
            "{.spec.selector.clipmodel\\.dev/model}",
        ),
        ("deployment", "tiny", {"spec": {"replicas": 0}}, "{.spec.replicas}"),
        ("configmap", "tiny-config", {"data": {"cpu.pbtxt": "edited by hand"}}, "{.data.cpu\\.pbtxt}"),
        ("configmap", "tiny-config", {"data": {"versions.json": "{}"}}, "{.data.versions\\.json}"),
    ],
)
def test_an_edit_by_hand_is_undone(
    shared_namespace: Namespace, tiny: tuple[str, str], kind: str, name: str, patch: object, path: str
) -> None:
    _ready(shared_namespace, tiny)
    kubectl = shared_namespace.kubectl

    def value() -> str:
        return kubectl("get", kind, name, "-o", f"jsonpath={path}")

    before = value()
    kubectl.patch(kind, name, patch)
    until(lambda: value() == before or None, f"{kind} {name} is as it was", seen=value)
    shared_namespace.wait_ready("tiny")


@pytest.mark.parametrize("kind", ["service/tiny", "configmap/tiny-config", "deployment/tiny"])
def test_a_deleted_child_comes_back(shared_namespace: Namespace, tiny: tuple[str, str], kind: str) -> None:
    _ready(shared_namespace, tiny)
    kubectl = shared_namespace.kubectl
    uid = kubectl("get", kind, "-o", "jsonpath={.metadata.uid}")
    kubectl("delete", kind, "--wait=false")

    def new_uid() -> str | None:
        found = kubectl("get", kind, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
        return found if found and found != uid else None

    until(new_uid, f"{kind} is there again")
    shared_namespace.wait_ready("tiny")


def test_a_wiped_status_comes_back(shared_namespace: Namespace, tiny: tuple[str, str]) -> None:
    _ready(shared_namespace, tiny)
    before = shared_namespace.clip("tiny")["status"]
    shared_namespace.kubectl.patch(
        "clip", "tiny", [{"op": "replace", "path": "/status", "value": {}}], subresource="status", how="json"
    )
    after = shared_namespace.wait_ready("tiny")["status"]
    for status in (before, after):
        for c in status["conditions"]:
            c.pop("lastTransitionTime")
    assert after == before


MOMENTS = [
    "at once",
    "when the Job is there",
    "when the Job has ended",
    "when the pod is there",
    "when the pod is ready",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_operator_killed_at_any_moment_converges(
    namespace: Namespace, operator: OperatorPod, tiny: tuple[str, str], moment: str
) -> None:
    kubectl = namespace.kubectl
    conditions: dict[str, Callable[[], bool]] = {
        "at once": lambda: True,
        "when the Job is there": lambda: bool(kubectl.list("jobs")),
        "when the Job has ended": lambda: any(j["status"].get("succeeded") for j in kubectl.list("jobs")),
        "when the pod is there": lambda: bool(namespace.server_pods("tiny")),
        "when the pod is ready": lambda: any(
            c["status"] == "True"
            for p in namespace.server_pods("tiny")
            for c in p["status"].get("conditions", ())
            if c["type"] == "Ready"
        ),
    }
    uri, sha256 = tiny
    kubectl.apply(clip_model("tiny", uri=uri, sha256=sha256))
    until(lambda: conditions[moment]() or None, moment)
    operator.kill()
    namespace.wait_ready("tiny")
    jobs = kubectl.list("jobs")
    assert len(jobs) == 1, [j["metadata"]["name"] for j in jobs]


def test_an_operator_that_is_down_takes_nothing_from_what_serves(
    namespace: Namespace, operator: OperatorPod, tiny: tuple[str, str]
) -> None:
    """A pod that is lost meanwhile comes back, proven by its own startup probe."""
    _ready(namespace, tiny)
    kubectl = namespace.kubectl
    with operator.down():
        old = namespace.server_pods("tiny")[0]["metadata"]["name"]
        kubectl("delete", "pod", old, "--wait=false")
        kubectl("wait", "--for=delete", f"pod/{old}", "--timeout=60s")
        kubectl("rollout", "status", "deployment/tiny", "--timeout=120s")
    namespace.wait_ready("tiny")


def test_a_volume_from_a_claim(namespace: Namespace, tiny: tuple[str, str], model_server: object) -> None:  # noqa: ARG001 - it serves `tiny`
    """pvc:// reads from a claim of the namespace: here the retained volume of another ClipModel."""
    _ready(namespace, tiny, name="first")
    _, sha256 = tiny
    uri = "pvc://first-models/repository/first/1/model.onnx"
    namespace.kubectl.apply(clip_model("second", uri=uri, sha256=sha256))
    namespace.wait_ready("second")


def test_scaling_is_told_truthfully(namespace: Namespace, tiny: tuple[str, str]) -> None:
    _ready(namespace, tiny)
    kubectl = namespace.kubectl
    kubectl("scale", "clip/tiny", "--replicas=2")
    until(
        lambda: namespace.clip("tiny")["status"]["readyReplicas"] == 2 or None,
        "two pods are proven",
        seen=lambda: namespace.clip("tiny")["status"],
    )
    kubectl("scale", "clip/tiny", "--replicas=0")
    ready = namespace.wait_reason("tiny", "Ready", "ScaledToZero")
    assert ready["status"] == "False"
    started = time.monotonic()
    until(lambda: namespace.clip("tiny")["status"]["servingVersions"] == [] or None, "no version serves")
    assert time.monotonic() - started < GONE_WITHIN_S
