"""What admission refuses, with a message that names the field and what is allowed: the API server's own decision."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from support.cluster import KubectlError, Namespace, clip_model

VALID = clip_model("refused", uri="https://models.example.com/vit-b32.onnx", sha256="ab" * 32)


def _with(path: str, value: object) -> dict[str, Any]:
    obj: Any = copy.deepcopy(VALID)
    *parents, last = path.split(".")
    target = obj
    for part in parents:
        target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
    if value is None:
        del target[last]
    else:
        target[last] = value
    return dict(obj)


REFUSED = {
    "a name of 51 characters": (_with("metadata.name", "a" * 51), "at most 50 characters"),
    "a name with a dot": (_with("metadata.name", "vit.b32"), "no dots"),
    "a name that starts with a digit": (_with("metadata.name", "32-vit"), "starts with a letter"),
    "no profile": (_with("spec.profile", None), "spec.profile"),
    "an unknown profile": (_with("spec.profile", "tpu"), "spec.profile"),
    "no versions": (_with("spec.versions", []), "spec.versions"),
    "version 0": (_with("spec.versions.0.version", 0), "spec.versions[0].version"),
    "a version that is a word": (_with("spec.versions.0.version", "one"), "spec.versions[0].version"),
    "no sha256": (_with("spec.versions.0.source.sha256", None), "spec.versions[0].source.sha256"),
    "a short sha256": (_with("spec.versions.0.source.sha256", "abc"), "spec.versions[0].source.sha256"),
    "an upper-case sha256": (_with("spec.versions.0.source.sha256", "AB" * 32), "spec.versions[0].source.sha256"),
    "a file: URI": (_with("spec.versions.0.source.uri", "file:///etc/passwd"), "spec.versions[0].source.uri"),
    "a URI without a path": (_with("spec.versions.0.source.uri", "pvc://claim"), "spec.versions[0].source.uri"),
    "a batch of 0": (_with("spec.batching.maxBatchSize", 0), "spec.batching.maxBatchSize"),
    "a preferred size beyond the largest": (_with("spec.batching", {"maxBatchSize": 8, "preferredBatchSizes": [16]}), "must not exceed"),
    "a preferred size twice": (_with("spec.batching.preferredBatchSizes", [4, 4]), "Duplicate"),
    "a delay without a unit": (_with("spec.batching.maxQueueDelay", "5"), "spec.batching.maxQueueDelay"),
    "a delay of a minute": (_with("spec.batching.maxQueueDelay", "60s"), "at most 10s"),
    "a model name with a slash": (_with("spec.modelName", "a/b"), "spec.modelName"),
    "a reserved model name": (_with("spec.modelName", "vit__candidate"), "__candidate"),
    "a size that is none": (_with("spec.storage.size", "large"), "spec.storage.size"),
    "an unknown reclaim policy": (_with("spec.storage.reclaimPolicy", "Recycle"), "spec.storage.reclaimPolicy"),
    "negative replicas": (_with("spec.serving.replicas", -1), "spec.serving.replicas"),
    "a toleration of an unknown effect": (_with("spec.serving.tolerations", [{"effect": "Sometimes"}]), "spec.serving.tolerations[0].effect"),
    "an unknown field": (_with("spec.batchign", {}), 'unknown field "spec.batchign"'),
    "an unknown field far down": (_with("spec.serving.replica", 2), 'unknown field "spec.serving.replica"'),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_field_s_name(case: str, shared_namespace: Namespace) -> None:
    obj, says = REFUSED[case]
    with pytest.raises(KubectlError) as refused:
        shared_namespace.kubectl("create", "--dry-run=server", "-f", "-", stdin=_json(obj))
    assert says in str(refused.value)


CHANGES = {
    "another model name": ({"modelName": "other"}, "spec.modelName is immutable"),
    "a smaller volume": ({"storage": {"size": "512Mi"}}, "can only grow"),
    "another storage class": ({"storage": {"storageClassName": "fast"}}, "storageClassName is immutable"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_cannot_be_made_is_refused(case: str, shared_namespace: Namespace) -> None:
    kubectl = shared_namespace.kubectl
    kubectl.apply(clip_model("immutable", uri="http://nowhere.invalid/x.onnx", sha256="ab" * 32))
    change, says = CHANGES[case]
    with pytest.raises(KubectlError) as refused:
        kubectl.patch("clip", "immutable", {"spec": change})
    assert says in str(refused.value)


def test_defaults_are_seen(shared_namespace: Namespace) -> None:
    shared_namespace.kubectl.apply(
        {
            "apiVersion": "clipmodel.dev/v1alpha1",
            "kind": "ClipModel",
            "metadata": {"name": "smallest"},
            "spec": {"profile": "gpu", "versions": [{"version": 1, "source": {"uri": "http://nowhere.invalid/x.onnx", "sha256": "ab" * 32}}]},
        }
    )
    spec = shared_namespace.clip("smallest")["spec"]
    assert spec["batching"] == {"maxBatchSize": 32, "maxQueueDelay": "5ms"}
    assert spec["storage"] == {"size": "5Gi", "reclaimPolicy": "Retain"}
    assert spec["serving"]["replicas"] == 1


def _json(obj: object) -> str:
    import json

    return json.dumps(obj)
