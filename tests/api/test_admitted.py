"""What admission accepts, up to the largest spec; and what users see of the schema: defaults, and `kubectl explain`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from support.cluster import Kubectl, Namespace, clip_model
from support.specs import pairwise_specs


def test_every_spec_that_triton_is_asked_to_load_is_admitted(shared_namespace: Namespace) -> None:
    """tests/triton/test_pairwise.py loads them into a real server; here the API server says that they are specs."""
    specs = pairwise_specs()
    assert specs
    for spec in specs:
        name = {"apiVersion": "clipmodel.dev/v1alpha1", "kind": "ClipModel", "metadata": {"name": spec["modelName"]}}
        shared_namespace.kubectl.create({**name, "spec": spec}, dry_run=True)


def _long_map(count: int, *, value: str) -> dict[str, str]:
    """Make a map with keys as long as they may be: a DNS prefix of 253 characters, and a name of 63."""
    prefix = ".".join(["p" * 62] * 4)
    return {f"{prefix}/{'n' * 60}{index:03}": value for index in range(count)}


def _largest_serving() -> dict[str, Any]:
    value = "v" * 63
    expressions = [
        {"key": "example.com/pool", "operator": "In", "values": [f"{value[:-3]}{n:03}" for n in range(32)]}
        for _ in range(16)
    ]
    terms = [{"matchExpressions": expressions} for _ in range(16)]
    near = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": _long_map(16, value=value), "matchExpressions": expressions},
    }
    weighted = [{"weight": 100, "podAffinityTerm": {**near, "namespaces": [f"n{n}" for n in range(16)]}}] * 16
    quantities = _long_map(16, value="999999999999999Ei")
    return {
        "gpu": {"count": 16},
        "resources": {"requests": quantities, "limits": quantities},
        "nodeSelector": _long_map(32, value=value),
        "tolerations": [
            {"key": f"k{n}", "operator": "Equal", "value": value, "effect": "NoExecute"} for n in range(32)
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": terms[0]}] * 16,
            },
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted},
        },
        "topologySpreadConstraints": [{**near, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}] * 8,
        "podLabels": _long_map(16, value=value),
        "podAnnotations": _long_map(32, value="a" * 4096),
    }


def test_the_largest_spec_is_admitted(shared_namespace: Namespace) -> None:
    """Rules have a budget when they run, too: a spec may not be refused for its length."""
    source = {"uri": "https://models.example.com/" + "u" * 900, "sha256": "ab" * 32}
    numbers = list(range(2_147_483_000, 2_147_483_064))
    obj = clip_model(
        "largest",
        uri=source["uri"],
        sha256=source["sha256"],
        profile="gpu",
        modelName="m" * 63,
        versions=[{"version": n, "source": source} for n in numbers],
        versionPolicy={"specific": {"versions": numbers}},
        batching={
            "maxBatchSize": 1024,
            "preferredBatchSizes": list(range(1009, 1025)),
            "queuePolicy": {"defaultTimeout": "600s"},
        },
        instances={"count": 32, "gpus": list(range(16))},
        serving=_largest_serving(),
        service={"annotations": _long_map(32, value="a" * 4096)},
    )
    shared_namespace.kubectl.create(obj, dry_run=True)


def test_defaults_are_seen(shared_namespace: Namespace) -> None:
    source = {"uri": "http://nowhere.invalid/x.onnx", "sha256": "ab" * 32}
    shared_namespace.kubectl.apply(
        {
            "apiVersion": "clipmodel.dev/v1alpha1",
            "kind": "ClipModel",
            "metadata": {"name": "smallest"},
            "spec": {"profile": "cpu", "versions": [{"version": 1, "source": source}]},
        }
    )
    spec = shared_namespace.clip("smallest")["spec"]
    assert spec["batching"] == {"maxBatchSize": 32, "maxQueueDelay": "5ms", "preserveOrdering": False}
    assert spec["storage"] == {"size": "5Gi", "reclaimPolicy": "Retain"}
    assert spec["instances"] == {"count": 1}
    assert spec["optimization"] == {"graphLevel": "All"}
    assert spec["service"] == {"type": "ClusterIP"}
    assert spec["paused"] is False
    assert spec["rollout"] == {"strategy": "InPlace"}
    assert spec["serving"]["replicas"] == 1
    assert spec["serving"]["terminationGracePeriod"] == "60s"
    assert spec["serving"]["probes"] == {
        "startup": {"deadline": "15m"},
        "readiness": {"period": "5s", "failureThreshold": 3},
        "liveness": {"period": "10s", "failureThreshold": 6},
    }
    # Only where somebody wrote it: what an optional object would default to is in its description.
    assert not {"gpu", "affinity", "tolerations"} & spec["serving"].keys()


#: kubectl prints descriptions and enumerations, and no defaults: those are in the descriptions.
EXPLAINED = {
    "spec.batching.maxQueueDelay": [
        "<string>",
        "How long a request may wait for others",
        "1ms for interactive use",
        "Default: 5ms.",
    ],
    "spec.batching.queuePolicy.timeoutAction": ["enum: Reject, Delay", "Default: Reject."],
    "spec.instances.count": ["Copies of the model", "Default: 1."],
    "spec.optimization.graphLevel": ["enum: Disabled, Basic, Extended, All", "Default: All."],
    "spec.storage.size": ["can only grow", "Default: 5Gi."],
    "spec.serving.terminationGracePeriod": ["until it has left the Service", "Default: 60s."],
    "spec.serving.gpu.resourceName": ["Default: nvidia.com/gpu."],
    "spec.serving.affinity.nodeAffinity": ["Which nodes", "requiredDuringSchedulingIgnoredDuringExecution"],
    "spec.versions.source.sha256": ["-required-", "64 lower-case hex digits"],
    "spec.rollout.strategy": ["enum: InPlace, Replace", "two copies of the model", "Default: InPlace."],
    "status.rollout.phase": ["Proving", "Returning", "Waiting", "Not set at rest"],
    "spec.paused": ["changes nothing", "Default: false."],
}


#: What stands on a field's own page only.
OWN_PAGE = "spec.serving.affinity.nodeAffinity"


@pytest.fixture(scope="module")
def explain(kubectl: Kubectl) -> Callable[[str], str]:
    """Ask kubectl for each page once."""

    @functools.cache
    def page(field: str) -> str:
        return " ".join(kubectl("explain", f"clip.{field}").split())  # kubectl wraps lines

    return page


@pytest.mark.parametrize("field", EXPLAINED)
def test_kubectl_explains_it(field: str, explain: Callable[[str], str]) -> None:
    """Beside its siblings, as a person finds it."""
    text = explain(field.rpartition(".")[0]) + (explain(field) if field == OWN_PAGE else "")
    for words in EXPLAINED[field]:
        assert words in text
