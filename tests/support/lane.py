"""A lane of the cluster tests: an operator of its own, installed by manifests/namespaced, and the namespaces that it serves.

Each worker of a run has one (support/pytest_lanes.py), so that a test may kill its operator, or read what it wrote, beside the tests of others. The
namespaces are made before the operator starts, for it serves those that it was told: each test takes the next one, and none is used twice.
They stay until the lane is made anew: an operator whose namespace is gone may list nothing there, and waits for its rights.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from clipmodel_operator.rendering.settings import DEFAULT_PRE_STOP_S
from support.api import Object
from support.cluster import OPERATOR, OPERATOR_NAMESPACE, Kubectl, Namespace, OperatorPod, clip_model
from support.pytest_lanes import worker_name

_ROOT = Path(__file__).parents[2]
_LANE_LABEL, _REST_LABEL = "clipmodel.dev/test-lane", "clipmodel.dev/test-rest"
# Of one run: its workers know each other's namespaces by it.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)[:6]
#: So many namespaces at a time: more need another start of the operator, and each is half a dozen watches.
_BATCH = 12
#: Most tests wait for pods that end, and ask them nothing meanwhile.
_QUICK_PRE_STOP_S = 2
NOT_THE_DIGEST = "cd" * 32


def required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(
            f"{name} is not set: `make cluster-test` brings the cluster and the images, and sets it", pytrace=False
        )
    return value


def install(kubectl: Kubectl, overlay: str, *, namespace: str, env: dict[str, str]) -> OperatorPod:
    """Apply an overlay of manifests/ with the images under test, into a namespace. The Deployment is left as it is scaled."""
    folder = _ROOT / "build" / "test-install" / namespace
    folder.mkdir(parents=True, exist_ok=True)
    image, _, tag = required("CLIPMODEL_OPERATOR_IMAGE").rpartition(":")
    images = {n: required(n) for n in ("CLIPMODEL_TRITON_IMAGE", "CLIPMODEL_SYNC_IMAGE")}
    container = {"name": "operator", "env": [{"name": n, "value": v} for n, v in {**images, **env}.items()]}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OPERATOR, "namespace": OPERATOR_NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [f"../../../manifests/{overlay}"],
        "images": [{"name": "clipmodel-operator", "newName": image, "newTag": tag}],
        "patches": [{"patch": json.dumps(patch)}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    with _installing():
        kubectl("apply", "--server-side", "--force-conflicts", "-k", str(folder))
    return OperatorPod(kubectl.within(namespace))


@contextmanager
def _installing() -> Iterator[None]:
    """Let one process at a time install: the roles and the CRD are everybody's."""
    with Path(tempfile.gettempdir(), "clipmodel-test-install.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stop_cluster_wide(kubectl: Kubectl) -> None:
    """Stop an operator that serves every namespace, where one is left: two must not serve the same."""
    found = OperatorPod(kubectl.within(OPERATOR_NAMESPACE))
    if found.kubectl.get("deployment", OPERATOR) is not None:
        found.scale(0)
        found.wait_gone()


@dataclass(slots=True)
class Lane:
    """One operator and its namespaces."""

    kubectl: Kubectl
    name: str
    pre_stop_s: int
    """How long its pods serve on when they end."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:6])
    namespaces: list[str] = field(default_factory=list)
    _free: list[str] = field(default_factory=list)

    @property
    def system(self) -> str:
        return f"{OPERATOR_NAMESPACE}-{self.name}"

    @property
    def operator(self) -> OperatorPod:
        return OperatorPod(self.kubectl.within(self.system))

    def start(self) -> None:
        """Install the operator with its first namespaces, and clear away those of a run before."""
        stop_cluster_wide(self.kubectl)
        old = self.kubectl.list("namespaces", selector=f"{_LANE_LABEL}={self.name}")
        self._add_namespaces()
        self.kubectl.delete("namespace", *(n["metadata"]["name"] for n in old))

    def stop(self) -> None:
        self.operator.scale(0)
        self.operator.wait_gone()

    def take(self) -> Namespace:
        """Give a namespace that nobody had."""
        if not self._free:
            self._add_namespaces()
        return Namespace(self.kubectl.within(self._free.pop(0)), self.system)

    def _add_namespaces(self) -> None:
        first = len(self.namespaces)
        made = [f"clipmodel-test-{self.name}-{self.token}-{n:02}" for n in range(first, first + _BATCH)]
        for name in made:
            self._make_namespace(name)
        self.namespaces += made
        self._free += made
        env = {"CLIPMODEL_NAMESPACES": " ".join(self.namespaces), "CLIPMODEL_PRE_STOP_SECONDS": str(self.pre_stop_s)}
        operator = install(self.kubectl, "namespaced", namespace=self.system, env=env)
        operator.scale(1)
        operator.wait_ready()

    def _make_namespace(self, name: str) -> None:
        labels = {
            "pod-security.kubernetes.io/enforce": "restricted",
            "clipmodel.dev/test": "true",
            _LANE_LABEL: self.name,
        }
        self.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        binding = _role_binding()
        binding["metadata"]["namespace"] = name
        binding["subjects"][0]["namespace"] = self.system
        self.kubectl.within(name).apply(binding)


def _role_binding() -> Object:
    """Read the one that users copy for each of their namespaces."""
    found: Object = yaml.safe_load((_ROOT / "manifests" / "namespaced" / "role-binding.yaml").read_text())
    return found


def clear(namespace: Namespace) -> None:
    """Let everything in a namespace end: what is left of a test costs the others the processor."""
    for kind in ("clip", "deployment", "job", "pod", "persistentvolumeclaim", "service"):
        namespace.kubectl.delete_all(kind)


def quick_lane(kubectl: Kubectl) -> Lane:
    """Start this worker's lane."""
    made = Lane(kubectl, worker_name(), _QUICK_PRE_STOP_S)
    made.start()
    return made


@contextmanager
def patient_lane(kubectl: Kubectl) -> Iterator[Lane]:
    """Lend a lane whose pods serve on for as long as users' do: for tests in which pods end and no request may fail."""
    made = Lane(kubectl, f"{worker_name()}-patient", DEFAULT_PRE_STOP_S)
    made.start()
    yield made
    made.stop()


def set_at_rest(lane: Lane, tiny: tuple[str, str]) -> None:
    """Make ClipModels that nobody touches from now on; test_afterwards.py looks at them when all else has ended."""
    namespace, (uri, sha256) = lane.take(), tiny
    label = {"metadata": {"labels": {_REST_LABEL: _RUN}}}
    lane.kubectl.patch("namespace", namespace.name, label)
    namespace.kubectl.apply(clip_model("one", uri=uri, sha256=sha256))
    namespace.kubectl.apply(clip_model("broken", uri=uri, sha256=NOT_THE_DIGEST))


def list_at_rest(kubectl: Kubectl) -> list[Namespace]:
    """List the namespaces of this run, of all its lanes, in which nobody touched anything."""
    found = kubectl.list("namespaces", selector=f"{_REST_LABEL}={_RUN}")
    return [
        Namespace(kubectl.within(n["metadata"]["name"]), f"{OPERATOR_NAMESPACE}-{n['metadata']['labels'][_LANE_LABEL]}")
        for n in found
    ]
