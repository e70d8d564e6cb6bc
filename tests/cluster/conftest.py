"""The cluster under test: this worker's lane, a server with model files, and a namespace for each test."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support.cluster import Kubectl, Namespace, OperatorPod, dump
from support.lane import Lane, clear, quick_lane, required, set_at_rest
from support.model_server import ModelServer, start_model_server
from support.tiny_onnx import build_tiny_onnx


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    return Kubectl(required("CLIPMODEL_TEST_KUBECONFIG"))


@pytest.fixture(scope="session")
def lane(kubectl: Kubectl, tiny: tuple[str, str]) -> Lane:
    """An operator and namespaces that no other worker touches. A module may have another one: its tests then have that."""
    made = quick_lane(kubectl)
    set_at_rest(made, tiny)
    return made


@pytest.fixture(scope="module")
def operator(lane: Lane) -> OperatorPod:
    return lane.operator


@pytest.fixture(scope="session")
def model_server(kubectl: Kubectl) -> ModelServer:
    return start_model_server(
        kubectl, image=required("CLIPMODEL_MODEL_SERVER_IMAGE"), python_image=required("CLIPMODEL_SYNC_IMAGE")
    )


@pytest.fixture(scope="session")
def tiny(model_server: ModelServer) -> tuple[str, str]:
    """URI and digest of a tiny model with ViT-B-32's inputs and outputs."""
    return model_server.put(build_tiny_onnx(seed=1))


@pytest.fixture(scope="session")
def other_tiny(model_server: ModelServer) -> tuple[str, str]:
    """Another one, of another embedding space."""
    return model_server.put(build_tiny_onnx(seed=2))


@pytest.fixture
def namespace(lane: Lane) -> Iterator[Namespace]:
    """Give a namespace of the test's own; what is in it is printed when the test fails."""
    made = lane.take()
    yield made
    clear(made)


@pytest.fixture(scope="module")
def shared_namespace(lane: Lane) -> Iterator[Namespace]:
    """Give one namespace to a module whose tests live in it together."""
    made = lane.take()
    yield made
    clear(made)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what is in the namespaces of a test that failed, and what the operator said."""
    report = yield
    if report.failed and report.when in {"setup", "call"}:
        for name in ("namespace", "shared_namespace"):
            found = getattr(item, "funcargs", {}).get(name)
            if isinstance(found, Namespace):
                report.sections.append((f"cluster: {name}", dump(found)))
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
