"""Fields whose effect only a real API server, kubelet or Triton can confirm: placement, probes, queueing, a claim of the user's own, paused."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.clipmodel import parse_clip_model
from clipmodel_operator.assessment.drift import holds
from clipmodel_operator.models import names
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.rendering.canonical import with_hash, without_none
from clipmodel_operator.rendering.deployment import render_deployment
from clipmodel_operator.rendering.service import render_service
from clipmodel_operator.rendering.settings import RenderSettings
from support.cluster import Kubectl, Namespace, Object, clip_model, condition, until
from support.lane import Lane

_EXISTS = {"key": "kubernetes.io/hostname", "operator": "Exists"}
_APART = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"team": "nobody"}}}


@pytest.fixture(scope="module")
def classes(kubectl: Kubectl) -> Iterator[str]:
    """Make a PriorityClass and a RuntimeClass, which belong to no namespace."""
    name = f"clipmodel-test-{uuid.uuid4().hex[:8]}"
    kubectl.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}
    )
    kubectl.apply(
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"}
    )
    yield name
    kubectl.delete("priorityclass", name)
    kubectl.delete("runtimeclass", name)


def _everything(classes: str) -> dict[str, Any]:
    return {
        "batching": {
            "maxBatchSize": 8,
            "maxQueueDelay": "1ms",
            "priorityLevels": 2,
            "defaultPriorityLevel": 2,
            "queuePolicy": {"maxQueueSize": 64, "defaultTimeout": "30s", "allowTimeoutOverride": True},
        },
        "instances": {"count": 2},
        "optimization": {"intraOpThreads": 1, "interOpThreads": 2, "graphLevel": "Basic"},
        "serving": {
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2048Mi"}},
            "imagePullSecrets": [{"name": "mirror"}],
            "serviceAccountName": "triton",
            "priorityClassName": classes,
            "runtimeClassName": classes,
            # The same key twice: a comparison by keys would never come to rest.
            "tolerations": [
                {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "dedicated", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [_EXISTS, {**_EXISTS, "operator": "NotIn", "values": ["x"]}]}
                        ]
                    }
                },
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_APART]},
            },
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "podLabels": {"team": "search"},
            "podAnnotations": {"example.com/note": "seen"},
            "probes": {
                "startup": {"deadline": "5m"},
                "readiness": {"period": "2s"},
                "liveness": {"failureThreshold": 5},
            },
            "terminationGracePeriod": "40s",
        },
        "service": {"type": "NodePort", "annotations": {"example.com/pool": "blue"}},
    }


@pytest.fixture(scope="module")
def everything(shared_namespace: Namespace, tiny: tuple[str, str], classes: str) -> Object:
    """A ClipModel with every field that can work here, ready."""
    kubectl = shared_namespace.kubectl
    kubectl.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "triton"}})
    kubectl.apply(clip_model("everything", uri=tiny[0], sha256=tiny[1], **_everything(classes)))
    return shared_namespace.wait_ready("everything")


def _pod(namespace: Namespace, name: str) -> Object:
    selector = ",".join(f"{k}={v}" for k, v in names.selector_labels(name).items())
    [pod] = namespace.kubectl.list("pods", selector=selector)
    return pod


def test_a_pod_with_every_field_runs_and_is_proven(
    everything: Object, shared_namespace: Namespace, classes: str, lane: Lane
) -> None:
    assert everything["status"]["servingVersions"] == [1]
    pod = _pod(shared_namespace, "everything")
    spec, [container] = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["labels"]["team"] == "search"
    assert pod["metadata"]["annotations"]["example.com/note"] == "seen"
    assert (spec["serviceAccountName"], spec["imagePullSecrets"]) == ("triton", [{"name": "mirror"}])
    assert (spec["priorityClassName"], spec["priority"], spec["runtimeClassName"]) == (classes, 1000, classes)
    assert spec["terminationGracePeriodSeconds"] == 40
    assert f"--exit-timeout-secs={40 - lane.pre_stop_s - 20}" in container["args"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": lane.pre_stop_s}}}, "what the operator is told"
    # Every run that fails takes 5 s, by itself.
    assert container["startupProbe"]["failureThreshold"] * 5 == 300
    assert container["readinessProbe"]["periodSeconds"] == 2
    assert container["livenessProbe"]["failureThreshold"] == 5
    assert spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == names.selector_labels("everything")


def test_the_service_can_be_reached_as_asked(everything: Object, shared_namespace: Namespace) -> None:
    service = shared_namespace.kubectl.the("service", everything["metadata"]["name"])
    assert service["spec"]["type"] == "NodePort"
    assert service["metadata"]["annotations"]["example.com/pool"] == "blue"


def test_what_the_api_server_stores_counts_as_what_was_rendered(
    everything: Object, shared_namespace: Namespace, lane: Lane
) -> None:
    """Otherwise each pass would write it again: defaults, orders and units are the API server's own."""
    model = parse_clip_model(everything)
    deployment = shared_namespace.kubectl.the("deployment", "everything")
    service = shared_namespace.kubectl.the("service", "everything")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    secret = next(e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if "valueFrom" in e)
    settings = RenderSettings(triton_image=os.environ["CLIPMODEL_TRITON_IMAGE"], pre_stop_s=lane.pre_stop_s)
    strategy = UpdateStrategy(has_surge=True, why="there is room")
    rendered = render_deployment(model, settings, control_secret=secret, strategy=strategy)
    assert holds(deployment, with_hash(without_none(rendered)))
    assert holds(service, with_hash(without_none(render_service(model))))


def test_service_fields_can_be_taken_back(everything: Object, shared_namespace: Namespace) -> None:
    name = everything["metadata"]["name"]
    shared_namespace.kubectl.patch("clip", name, {"spec": {"service": None}})

    def look() -> bool | None:
        service = shared_namespace.kubectl.the("service", name)
        annotations = service["metadata"].get("annotations", {})
        return (service["spec"]["type"] == "ClusterIP" and "example.com/pool" not in annotations) or None

    until(look, "the Service is a plain one again", seen=lambda: shared_namespace.kubectl.get("service", name))
    shared_namespace.wait_ready(name)


def test_a_volume_from_a_claim(everything: Object, shared_namespace: Namespace, tiny: tuple[str, str]) -> None:
    """pvc:// reads from a claim of the namespace: here the volume of another ClipModel, while that serves."""
    name = everything["metadata"]["name"]
    uri = f"pvc://{name}-models/repository/{name}/1/model.onnx"
    shared_namespace.kubectl.apply(clip_model("second", uri=uri, sha256=tiny[1]))
    shared_namespace.wait_ready("second")


def test_an_existing_claim_is_used_and_left_as_it_is(namespace: Namespace, tiny: tuple[str, str]) -> None:
    kubectl = namespace.kubectl
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine", "labels": {"owner": "me"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Mi"}}},
    }
    kubectl.apply(claim)
    kubectl.apply(clip_model("borrower", uri=tiny[0], sha256=tiny[1], storage={"existingClaim": "mine"}))
    namespace.wait_ready("borrower")
    assert kubectl.get("pvc", "borrower-models") is None
    kubectl.delete("clip", "borrower")
    kubectl.wait_gone("clip", "borrower")
    until(lambda: kubectl.get("deployment", "borrower") is None or None, "what was made of it is gone")
    found = kubectl.the("pvc", "mine")
    assert "deletionTimestamp" not in found["metadata"]
    assert found["metadata"]["labels"] == {"owner": "me"}
    assert "ownerReferences" not in found["metadata"]
    assert found["spec"]["resources"] == {"requests": {"storage": "100Mi"}}


def test_a_claim_that_is_not_there_is_named(namespace: Namespace, tiny: tuple[str, str]) -> None:
    namespace.kubectl.apply(clip_model("hopeful", uri=tiny[0], sha256=tiny[1], storage={"existingClaim": "nowhere"}))

    def look() -> bool | None:
        ready = condition(namespace.clip("hopeful"), "Ready")
        return (ready is not None and 'persistentvolumeclaim "nowhere" not found' in ready["message"]) or None

    until(look, "status names the claim", seen=lambda: namespace.clip("hopeful").get("status"))


def test_what_the_api_server_alone_can_judge_stalls_while_the_rest_serves(
    namespace: Namespace, tiny: tuple[str, str]
) -> None:
    """A field of nodes that there is not: the schema admits any name, and the API server refuses the Deployment."""
    namespace.kubectl.apply(clip_model("picky", uri=tiny[0], sha256=tiny[1]))
    namespace.wait_ready("picky")
    bad = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["x"]}]}]
    }}}}  # fmt: skip
    namespace.kubectl.patch("clip", "picky", {"spec": {"serving": bad}})
    stalled = namespace.wait_reason("picky", "Stalled", "ObjectRejected")
    assert 'matchFields[0].key: Invalid value: "metadata.uid"' in stalled["message"]
    assert "Meanwhile version 1 serves." in stalled["message"]
    assert namespace.clip("picky")["status"]["servingVersions"] == [1]
    namespace.kubectl.patch("clip", "picky", {"spec": {"serving": {"affinity": None}}})
    namespace.wait_ready("picky")


def test_paused_holds_everything_until_it_is_taken_back(namespace: Namespace, tiny: tuple[str, str]) -> None:
    kubectl = namespace.kubectl
    kubectl.apply(clip_model("still", uri=tiny[0], sha256=tiny[1]))
    namespace.wait_ready("still")
    before = {
        kind: _version(kubectl, kind, name) for kind, name in (("configmap", "still-config"), ("service", "still"))
    }
    template = _template(kubectl)
    kubectl.patch("clip", "still", {"spec": {"paused": True}})
    namespace.wait_reason("still", "Paused", "Paused")
    kubectl.patch("clip", "still", {"spec": {
        "batching": {"maxQueueDelay": "1ms"}, "service": {"type": "NodePort"}, "serving": {"podLabels": {"team": "x"}},
    }})  # fmt: skip
    kubectl.patch("service", "still", {"metadata": {"annotations": {"example.com/by-hand": "yes"}}})
    before["service"] = _version(kubectl, "service", "still")
    # Its status is of the edit: the operator has seen it, and let it be.
    obj = namespace.wait_ready("still")
    assert condition(obj, "Paused") is not None
    assert {
        kind: _version(kubectl, kind, name) for kind, name in (("configmap", "still-config"), ("service", "still"))
    } == before
    assert _template(kubectl) == template

    kubectl.patch("clip", "still", {"spec": {"paused": None}})
    until(
        lambda: "max_queue_delay_microseconds: 1000\n" in _config(kubectl) or None,
        "the edit is committed",
        seen=lambda: _config(kubectl),
    )
    obj = namespace.wait_ready("still")
    assert condition(obj, "Paused") is None
    service = kubectl.the("service", "still")
    assert service["spec"]["type"] == "NodePort"


def _version(kubectl: Kubectl, kind: str, name: str) -> str:
    return str(kubectl.the(kind, name)["metadata"]["resourceVersion"])


def _template(kubectl: Kubectl) -> str:
    return json.dumps(kubectl.the("deployment", "still")["spec"]["template"], sort_keys=True)


def _config(kubectl: Kubectl) -> str:
    return str(kubectl.the("configmap", "still-config")["data"]["cpu.pbtxt"])
