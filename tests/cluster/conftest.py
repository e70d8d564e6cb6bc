"""The cluster under test: the operator as manifests/ install it, a server with model files, and a namespace for each test."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support.cluster import OPERATOR_NAMESPACE, Kubectl, Namespace, OperatorPod, dump
from support.model_server import ModelServer, start_model_server
from support.tiny_onnx import build_tiny_onnx

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(
            f"{name} is not set: `make cluster-test` brings the cluster and the images, and sets it", pytrace=False
        )
    return value


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    return Kubectl(_required("CLIPMODEL_TEST_KUBECONFIG"))


@pytest.fixture(scope="session")
def operator(kubectl: Kubectl) -> OperatorPod:
    """Install the operator by manifests/cluster-wide, with the images under test."""
    overlay = ROOT / "build" / "test-install"
    overlay.mkdir(parents=True, exist_ok=True)
    image, _, tag = _required("CLIPMODEL_OPERATOR_IMAGE").rpartition(":")
    env = [{"name": n, "value": _required(n)} for n in ("CLIPMODEL_TRITON_IMAGE", "CLIPMODEL_SYNC_IMAGE")]
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "clipmodel-operator", "namespace": OPERATOR_NAMESPACE},
        "spec": {"template": {"spec": {"containers": [{"name": "operator", "env": env}]}}},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../manifests/cluster-wide"],
        "images": [{"name": "clipmodel-operator", "newName": image, "newTag": tag}],
        "patches": [{"patch": json.dumps(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    kubectl("apply", "--server-side", "--force-conflicts", "-k", str(overlay))
    pod = OperatorPod(kubectl.within(OPERATOR_NAMESPACE))
    pod.scale(1)
    pod.wait_ready()
    return pod


@pytest.fixture(scope="session")
def model_server(kubectl: Kubectl) -> ModelServer:
    return start_model_server(
        kubectl, image=_required("CLIPMODEL_MODEL_SERVER_IMAGE"), python_image=_required("CLIPMODEL_SYNC_IMAGE")
    )


@pytest.fixture(scope="session")
def tiny(model_server: ModelServer) -> tuple[str, str]:
    """URI and digest of a tiny model with ViT-B-32's inputs and outputs."""
    return model_server.put(build_tiny_onnx(seed=1))


@pytest.fixture(scope="session")
def other_tiny(model_server: ModelServer) -> tuple[str, str]:
    """Another one, of another embedding space."""
    return model_server.put(build_tiny_onnx(seed=2))


def _make_namespace(kubectl: Kubectl) -> Namespace:
    name = f"clipmodel-test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "clipmodel.dev/test": "true"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return Namespace(kubectl.within(name))


@pytest.fixture
def namespace(kubectl: Kubectl, operator: OperatorPod, request: pytest.FixtureRequest) -> Iterator[Namespace]:  # noqa: ARG001 - it must run
    """Give a namespace of the test's own; what is in it is printed when the test fails."""
    made = _make_namespace(kubectl)
    yield made
    report = getattr(request.node, "rep_call", None)
    if report is not None and report.failed:
        print(dump(made.kubectl))  # noqa: T201 - for the person who reads the failure
    kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture(scope="module")
def shared_namespace(kubectl: Kubectl, operator: OperatorPod) -> Iterator[Namespace]:  # noqa: ARG001 - it must run
    """Give one namespace to a module whose tests only look."""
    made = _make_namespace(kubectl)
    yield made
    kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    setattr(item, f"rep_{report.when}", report)
    if report.failed and report.when == "call" and "shared_namespace" in getattr(item, "fixturenames", ()):
        shared = item.funcargs.get("shared_namespace")  # type: ignore[attr-defined]  # pytest.Function has it
        if shared is not None:
            report.sections.append(("cluster", dump(shared.kubectl)))
    return report


@pytest.fixture(scope="session")
def audit_log() -> str:
    """Name the container that keeps the API server's audit log: our own kind cluster has one."""
    node = os.environ.get("CLIPMODEL_TEST_KIND_NODE")
    if not node:
        pytest.skip(
            "the audit log is read from the project's own kind cluster; CLIPMODEL_TEST_KUBECONFIG names another one"
        )
    return node
