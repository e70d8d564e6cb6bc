"""The API server alone: the CRD is there, and no operator looks at what is made."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.cluster import Kubectl, Namespace
from support.lane import required

CRD = Path(__file__).parents[2] / "crds" / "clipmodel.dev_clipmodels.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """A cluster with this checkout's CRD, established."""
    found = Kubectl(required("CLIPMODEL_TEST_KUBECONFIG"))
    crd = yaml.safe_load(CRD.read_text())
    # Whoever installed it, by whatever name it writes: by force.
    found("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    found.wait_condition("customresourcedefinition", crd["metadata"]["name"], "Established")
    return found


@pytest.fixture(scope="module")
def shared_namespace(kubectl: Kubectl) -> Iterator[Namespace]:
    """Give one namespace to a module."""
    name = f"clipmodel-test-api-{uuid.uuid4().hex[:8]}"
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"clipmodel.dev/test": "true"}}}
    )
    yield Namespace(kubectl.within(name))
    kubectl.delete("namespace", name)
