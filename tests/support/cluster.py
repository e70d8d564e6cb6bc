"""A real cluster under test, by kubectl: what the tests see is what a user sees.

Waiting is always for a condition with a deadline; what runs out says what it last saw, and `dump` prints the rest.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Object = dict[str, Any]

OPERATOR_NAMESPACE = "clipmodel-system"
OPERATOR = "clipmodel-operator"
# The first pull of an image that is on the node takes seconds; two busy cores stretch everything.
DEADLINE_S = 120.0
_POLL_S = 0.3


class KubectlError(AssertionError):
    """kubectl said no; its own words are the message."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster, and optionally one namespace of it."""

    kubeconfig: str
    namespace: str | None = None

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(self.kubeconfig, namespace)

    def command(self, *args: str) -> list[str]:
        scope = ["--namespace", self.namespace] if self.namespace else []
        return ["kubectl", "--kubeconfig", self.kubeconfig, *scope, *args]

    def __call__(self, *args: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        done = subprocess.run(
            self.command(*args), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, kind: str, name: str) -> Object | None:
        text = self("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, *, selector: str = "") -> list[Object]:
        args = ["get", kind, "-o", "json", *(["--selector", selector] if selector else [])]
        items: list[Object] = json.loads(self(*args))["items"]
        return items

    def apply(self, obj: Mapping[str, Any]) -> Object:
        applied: Object = json.loads(self("apply", "--server-side", "-o", "json", "-f", "-", stdin=json.dumps(obj)))
        return applied

    def patch(self, kind: str, name: str, patch: object, *, subresource: str = "", how: str = "merge") -> None:
        extra = [f"--subresource={subresource}"] if subresource else []
        self("patch", kind, name, f"--type={how}", "-p", json.dumps(patch), *extra)


def until(
    look: Callable[[], T | None], what: str, *, deadline_s: float = DEADLINE_S, seen: Callable[[], object] = str
) -> T:
    """Look again and again until there is something; fail with what was seen last when the deadline has passed."""
    end = time.monotonic() + deadline_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}. Last seen: {seen()}")
        time.sleep(_POLL_S)


def clip_model(name: str, *, uri: str, sha256: str, version: int = 1, **spec: Any) -> Object:
    """Make a small ClipModel: one version, a volume that goes with it."""
    return {
        "apiVersion": "clipmodel.dev/v1alpha1",
        "kind": "ClipModel",
        "metadata": {"name": name},
        "spec": {
            "profile": "cpu",
            "versions": [{"version": version, "source": {"uri": uri, "sha256": sha256}}],
            "storage": {"size": "1Gi", "reclaimPolicy": "Delete"},
            "serving": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
        }
        | spec,
    }


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), None)


def is_settled(obj: Mapping[str, Any]) -> bool:
    """Tell whether status is of the current spec (kstatus's first question)."""
    return bool(obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"])


@dataclass(frozen=True, slots=True)
class Namespace:
    """A test's own namespace, and what it says of ClipModels in it."""

    kubectl: Kubectl

    @property
    def name(self) -> str:
        assert self.kubectl.namespace
        return self.kubectl.namespace

    def clip(self, name: str) -> Object:
        found = self.kubectl.get("clip", name)
        assert found is not None, f"ClipModel {name} is not there"
        return found

    def wait_ready(self, name: str, *, deadline_s: float = DEADLINE_S) -> Object:
        def look() -> Object | None:
            obj = self.clip(name)
            ready = condition(obj, "Ready")
            return (
                obj
                if is_settled(obj) and ready and ready["status"] == "True" and not condition(obj, "Reconciling")
                else None
            )

        return until(
            look, f"ClipModel {name} is Ready", deadline_s=deadline_s, seen=lambda: self.clip(name).get("status")
        )

    def wait_reason(self, name: str, kind: str, reason: str, *, deadline_s: float = DEADLINE_S) -> Mapping[str, Any]:
        def look() -> Mapping[str, Any] | None:
            obj = self.clip(name)
            found = condition(obj, kind)
            return found if is_settled(obj) and found and found["reason"] == reason else None

        return until(
            look, f"{kind} of {name} is {reason}", deadline_s=deadline_s, seen=lambda: self.clip(name).get("status")
        )

    def events(self, name: str) -> list[Object]:
        return [
            e
            for e in self.kubectl.list("events")
            if e["involvedObject"].get("name") == name and e["involvedObject"]["kind"] == "ClipModel"
        ]

    def server_pods(self, name: str) -> list[Object]:
        return self.kubectl.list("pods", selector=f"clipmodel.dev/model={name},app.kubernetes.io/component=server")

    def children(self, name: str) -> list[str]:
        """Name everything of a ClipModel that is still there, as kind/name. Events and the volume behind a claim are not children."""
        kinds = "persistentvolumeclaims,configmaps,services,jobs,deployments,replicasets,pods,secrets"
        return self.kubectl("get", kinds, "--selector", f"clipmodel.dev/model={name}", "-o", "name").split()


def dump(kubectl: Kubectl) -> str:
    """Print what a person would ask for: objects, events, logs of every pod and of the operator."""
    system = kubectl.within(OPERATOR_NAMESPACE)
    questions = [
        (kubectl, ("get", "clip,deploy,job,pod,pvc,svc,cm", "-o", "wide")),
        (kubectl, ("get", "clip", "-o", "yaml")),
        (kubectl, ("get", "events", "--sort-by=.lastTimestamp")),
        (kubectl, ("logs", "--selector=app.kubernetes.io/managed-by=clipmodel-operator", "--tail=30", "--prefix")),
        (system, ("get", "pods", "-o", "wide")),
        (system, ("logs", f"deployment/{OPERATOR}", "--tail=60")),
    ]
    parts = []
    for client, question in questions:
        try:
            answer = client(*question, timeout_s=30)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            answer = str(error)
        parts.append(f"$ kubectl -n {client.namespace} {' '.join(question)}\n{answer}")
    return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class OperatorPod:
    """The operator in the cluster: it can be stopped, started and killed."""

    kubectl: Kubectl

    def scale(self, replicas: int) -> None:
        self.kubectl("scale", f"deployment/{OPERATOR}", f"--replicas={replicas}")

    def wait_gone(self) -> None:
        until(lambda: not self._pods() or None, "the operator's pods are gone", seen=self._pods)

    def wait_ready(self) -> None:
        self.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")

    def kill(self) -> None:
        """End it as a lost node would: no grace, no goodbye."""
        self.kubectl(
            "delete",
            "pods",
            "--selector",
            f"app.kubernetes.io/name={OPERATOR}",
            "--grace-period=0",
            "--force",
            "--wait=false",
        )

    def _pods(self) -> Sequence[str]:
        return self.kubectl("get", "pods", "--selector", f"app.kubernetes.io/name={OPERATOR}", "-o", "name").split()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Stop it for as long as the block runs."""
        self.scale(0)
        self.wait_gone()
        try:
            yield
        finally:
            self.scale(1)
            self.wait_ready()
