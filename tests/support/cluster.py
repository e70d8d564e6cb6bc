"""A real cluster under test: its API server asked in this process (support/api.py), and kubectl where the test is about what a user does and sees.

Waiting is always for a condition with a deadline; what runs out says what it last saw, and `dump` prints the rest.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from support.api import KINDS, PATCHES, Api, ApiError, Kind, Object, connect, find_kind, without_managed_fields

__all__ = ["Object"]  # the tests have it from here

T = TypeVar("T")

OPERATOR_NAMESPACE = "clipmodel-system"
OPERATOR = "clipmodel-operator"
# The first pull of an image that is on the node takes seconds; two busy cores stretch everything.
DEADLINE_S = 120.0
_POLL_S = 0.1
# As kubectl sends them: unknown fields are errors, and who writes has its names.
_STRICT = {"fieldValidation": "Strict"}
_MANAGERS = {"apply": "kubectl", "merge": "kubectl-patch", "json": "kubectl-patch"}


class KubectlError(AssertionError):
    """kubectl said no; its own words are the message."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster, and optionally one namespace of it. Called, it is a kubectl process; its methods ask the API server themselves."""

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

    @property
    def api(self) -> Api:
        return connect(self.kubeconfig)

    def path(self, kind: str, name: str = "", *, subresource: str = "") -> str:
        return find_kind(kind).path(self.namespace, name) + (f"/{subresource}" if subresource else "")

    def get(self, kind: str, name: str, *, with_managed_fields: bool = False) -> Object | None:
        try:
            found = self.api.ask("GET", self.path(kind, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return found if with_managed_fields else without_managed_fields(found)

    def the(self, kind: str, name: str) -> Object:
        """Get what must be there."""
        found = self.get(kind, name)
        assert found is not None, f"{kind} {name} is not there"
        return found

    def list(self, kind: str, *, selector: str = "") -> list[Object]:
        found = find_kind(kind)
        named = {"kind": found.kind, "apiVersion": found.api_version}
        query = {"labelSelector": selector} if selector else {}
        return [
            {**named, **without_managed_fields(o)}
            for o in self.api.ask("GET", self.path(kind), query=query).get("items") or ()
        ]

    def create(self, obj: Mapping[str, Any], *, subresource: str = "", dry_run: bool = False) -> Object:
        """Create an object; with `subresource`, post it to that of the object of its name."""
        name = obj["metadata"]["name"] if subresource else ""
        kind = "pod" if subresource == "eviction" else obj["kind"]
        query = {**_STRICT, **({"dryRun": "All"} if dry_run else {})}
        return self.api.ask("POST", self.path(kind, name, subresource=subresource), query=query, body=dict(obj))

    def apply(self, obj: Mapping[str, Any]) -> Object:
        """Apply, as `kubectl apply --server-side` does."""
        made = self._patch(obj["kind"], obj["metadata"]["name"], dict(obj), how="apply")
        return without_managed_fields(made)

    def patch(
        self,
        kind: str,
        name: str,
        patch: object,
        *,
        subresource: str = "",
        how: str = "merge",
        as_user: str = "",
        dry_run: bool = False,
    ) -> None:
        self._patch(kind, name, patch, how=how, subresource=subresource, as_user=as_user, dry_run=dry_run)

    def _patch(
        self,
        kind: str,
        name: str,
        patch: object,
        *,
        how: str,
        subresource: str = "",
        as_user: str = "",
        dry_run: bool = False,
    ) -> Object:
        query = {**_STRICT, "fieldManager": _MANAGERS[how], **({"dryRun": "All"} if dry_run else {})}
        headers = {"Impersonate-User": as_user} if as_user else {}
        path = self.path(kind, name, subresource=subresource)
        return self.api.ask("PATCH", path, query=query, body=patch, content_type=PATCHES[how], headers=headers)

    def delete(self, kind: str, *names: str, grace_period_s: int | None = None) -> None:
        """Have objects deleted, in the background. What is not there need not be."""
        options = {"propagationPolicy": "Background"}
        body = options if grace_period_s is None else {**options, "gracePeriodSeconds": grace_period_s}
        for name in names:
            try:
                self.api.request("DELETE", self.path(kind, name), body=body)
            except ApiError as error:
                if error.code != 404:
                    raise

    def delete_all(self, kind: str, *, selector: str = "", grace_period_s: int | None = None) -> None:
        names = [o["metadata"]["name"] for o in self.list(kind, selector=selector)]
        self.delete(kind, *names, grace_period_s=grace_period_s)

    def wait_gone(self, kind: str, name: str, *, deadline_s: float = DEADLINE_S) -> None:
        until(lambda: self.get(kind, name) is None, f"{kind} {name} is gone", deadline_s=deadline_s)

    def wait_condition(self, kind: str, name: str, condition_type: str, *, deadline_s: float = 60.0) -> None:
        def look() -> bool:
            found = condition(self.the(kind, name), condition_type)
            return bool(found and found["status"] == "True")

        what = f"{condition_type} of {kind} {name} is True"
        until(look, what, deadline_s=deadline_s, seen=lambda: self.the(kind, name).get("status"))

    def wait_rolled_out(self, name: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Wait for a Deployment, as `kubectl rollout status` does."""

        def look() -> bool:
            found = self.the("deployment", name)
            status, wanted = found.get("status") or {}, found["spec"]["replicas"]
            counts = {status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")}
            return is_settled(found) and counts == {wanted}

        until(look, f"{name} is rolled out", deadline_s=deadline_s, seen=lambda: self.the("deployment", name)["status"])

    def ask_pod(
        self,
        pod: str,
        port: int,
        path: str,
        *,
        method: str = "GET",
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Ask a port of a pod over HTTP, by the API server's proxy. Raises ApiError for anything but success."""
        return self.api.request(method, f"{self.path('pod', f'{pod}:{port}')}/proxy{path}", body=body, headers=headers)

    def log(self, pod: str) -> str:
        return self.api.request("GET", self.path("pod", pod, subresource="log")).decode(errors="replace")


def until(
    look: Callable[[], T | None], what: str, *, deadline_s: float = DEADLINE_S, seen: Callable[[], object] = str
) -> T:
    """Look again and again until there is something; fail with what was seen last when the deadline has passed."""
    end = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}. Last seen: {seen()}")
        # A look that takes long, because it starts a process, leaves as much time to what it waits for.
        time.sleep(max(_POLL_S, time.monotonic() - began))


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
    operator_namespace: str = OPERATOR_NAMESPACE
    """Where the operator runs that serves it."""

    @property
    def name(self) -> str:
        assert self.kubectl.namespace
        return self.kubectl.namespace

    @property
    def operator_user(self) -> str:
        return f"system:serviceaccount:{self.operator_namespace}:{OPERATOR}"

    def clip(self, name: str) -> Object:
        return self.kubectl.the("clip", name)

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
        selector = f"clipmodel.dev/model={name}"
        return [
            f"{kind.kind.lower()}/{obj['metadata']['name']}"
            for kind in _CHILDREN
            for obj in self.kubectl.list(kind.kind, selector=selector)
        ]


_CHILDREN: Sequence[Kind] = [
    k for k in KINDS if k.is_namespaced and k.kind not in {"ClipModel", "Event", "ServiceAccount", "RoleBinding"}
]


def dump(namespace: Namespace) -> str:
    """Print what a person would ask for: objects, events, logs of every pod and of the operator."""
    kubectl = namespace.kubectl
    system = kubectl.within(namespace.operator_namespace)
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
        self.kubectl.patch("deployment", OPERATOR, {"spec": {"replicas": replicas}})

    def wait_gone(self) -> None:
        until(lambda: not self._pods(), "the operator's pods are gone", seen=self._pods)

    def wait_ready(self) -> None:
        self.kubectl.wait_rolled_out(OPERATOR)

    def kill(self) -> None:
        """End it as a lost node would: no grace, no goodbye."""
        self.kubectl.delete_all("pod", selector=f"app.kubernetes.io/name={OPERATOR}", grace_period_s=0)

    def restart(self) -> None:
        """Kill it, and wait until another one is at work."""
        before = set(self._pods())
        self.kill()
        until(
            lambda: any(is_ready for uid, is_ready in self._pods().items() if uid not in before),
            "another operator is ready",
            seen=self._pods,
        )

    def _pods(self) -> dict[str, bool]:
        """Give each pod's uid, and whether it is ready."""
        found = self.kubectl.list("pods", selector=f"app.kubernetes.io/name={OPERATOR}")
        ready = [condition(p, "Ready") for p in found]
        return {p["metadata"]["uid"]: bool(r and r["status"] == "True") for p, r in zip(found, ready, strict=True)}

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
