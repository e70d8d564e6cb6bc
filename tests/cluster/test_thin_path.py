"""From an applied ClipModel to embeddings: over gRPC and HTTP, from this machine and from a pod, equal to ONNX Runtime's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from clipmodel_client.embed import Embedder, Protocol
from clipmodel_client.kubectl import Cluster
from clipmodel_client.portforward import port_forward
from support.cluster import Namespace, clip_model, condition, until
from support.model_server import ModelServer
from support.vit import vit_b_32

TOLERANCE = 1e-5
PORTS = {Protocol.GRPC: 8001, Protocol.HTTP: 8000}


@pytest.fixture(scope="module")
def vit() -> Path:
    """The real architecture with random weights: 352 MB, made once and kept."""
    return vit_b_32()


@pytest.fixture(scope="module")
def served(shared_namespace: Namespace, model_server: ModelServer, vit: Path) -> Namespace:
    uri, sha256 = model_server.put(vit)
    shared_namespace.kubectl.apply(clip_model("openclip-vit-b32", uri=uri, sha256=sha256))
    shared_namespace.wait_ready("openclip-vit-b32", deadline_s=300)
    return shared_namespace


@pytest.fixture(scope="module")
def session(vit: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(vit, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=list(PORTS), ids=str)
def embedder(request: pytest.FixtureRequest, served: Namespace) -> Iterator[Embedder]:
    cluster = Cluster(kubeconfig=Path(served.kubectl.kubeconfig), context=None, namespace=served.name)
    with (
        port_forward(cluster, service="openclip-vit-b32", port=PORTS[request.param]) as address,
        Embedder(address, model="openclip_vit_b32", protocol=request.param, timeout_s=120) as made,
    ):
        yield made


@pytest.mark.parametrize("batch", [1, 4, 7, 32])
def test_served_embeddings_are_those_of_onnx_runtime(
    embedder: Embedder, session: onnxruntime.InferenceSession, batch: int
) -> None:
    images = np.random.default_rng(batch).random((batch, 3, 224, 224), dtype=np.float32)
    embeddings = embedder.embed(images)
    direct = session.run(["embedding"], {"image": images})[0]
    assert embeddings.shape == (batch, 512)
    assert float(np.abs(embeddings - direct).max()) <= TOLERANCE


def test_status_says_what_serves(served: Namespace) -> None:
    status = served.clip("openclip-vit-b32")["status"]
    assert status["servingVersions"] == [1]
    assert status["versions"][0]["state"] == "Serving"
    assert status["modelName"] == "openclip_vit_b32"
    assert status["readyReplicas"] == status["replicas"] == 1
    assert condition({"status": status}, "Stalled") is None
    assert condition({"status": status}, "Reconciling") is None


def test_kubectl_get_shows_the_columns(served: Namespace) -> None:
    header, row = served.kubectl("get", "clip").splitlines()
    assert header.split() == ["NAME", "PROFILE", "SERVING", "READY", "REPLICAS", "AGE"]
    assert row.split()[:5] == ["openclip-vit-b32", "cpu", "[1]", "True", "1"]


def test_events_tell_the_story(served: Namespace) -> None:
    events = served.events("openclip-vit-b32")
    assert [e["reason"] for e in sorted(events, key=lambda e: e["metadata"]["creationTimestamp"])][-1] == "Serving"
    assert {e["type"] for e in events} == {"Normal"}
    assert len({e["message"] for e in events}) == len(events), "an event was told twice"


def test_a_pod_gets_the_embedding_through_the_service(served: Namespace) -> None:
    """The Service's name and address, not a port forward, which leads to one pod."""
    program = (
        "import json,urllib.request as u\n"
        "d=[0.5]*150528\n"
        "b=json.dumps({'inputs':[{'name':'image','shape':[1,3,224,224],'datatype':'FP32','data':d}]}).encode()\n"
        "r=json.load(u.urlopen('http://openclip-vit-b32:8000/v2/models/openclip_vit_b32/infer',b,timeout=60))\n"
        "print(json.dumps(r['outputs'][0]['shape']))"
    )
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asker"},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {"name": "asker", "image": os.environ["CLIPMODEL_SYNC_IMAGE"], "command": ["python3", "-c", program], "securityContext": security}
            ],
        },
    }  # fmt: skip
    served.kubectl.apply(pod)

    def phase() -> str:
        found = served.kubectl.get("pod", "asker")
        return str(found["status"].get("phase")) if found else "absent"

    until(lambda: phase() in {"Succeeded", "Failed"} or None, "the asking pod has ended", seen=phase)
    log = served.kubectl.log("asker")
    assert phase() == "Succeeded", log
    assert json.loads(log) == [1, 512]


def test_model_control_is_closed_to_clients(served: Namespace) -> None:
    """Unloading through the Service would be an outage by anyone who can reach it."""
    import urllib.error
    import urllib.request

    cluster = Cluster(kubeconfig=Path(served.kubectl.kubeconfig), context=None, namespace=served.name)
    with port_forward(cluster, service="openclip-vit-b32", port=8000) as address:
        request = urllib.request.Request(
            f"http://{address}/v2/repository/models/openclip_vit_b32/unload", data=b"{}", method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)  # noqa: S310
        assert refused.value.code == 403
        with urllib.request.urlopen(f"http://{address}/v2/models/openclip_vit_b32/ready", timeout=30) as ready:
            assert ready.status == 200
