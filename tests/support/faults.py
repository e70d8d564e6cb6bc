"""What tests do to a cluster so that something happens at a moment of their choosing: hold commits back, spoil a volume, hold up a source, evict a pod."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support.api import ApiError
from support.cluster import Namespace, Object, until

_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}

_HELD = "hold.clipmodel.test"


def _python_pod(name: str, program: str, **spec: object) -> Object:
    container = {
        "name": "python",
        "image": os.environ["CLIPMODEL_SYNC_IMAGE"],
        "command": ["python3", "-c", program],
        "securityContext": _SECURITY,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": _POD_SECURITY,
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
        }
        | spec,
    }


@contextmanager
def held_commits(namespace: Namespace, name: str, *, saying: str = "") -> Iterator[None]:
    """Refuse the operator's updates of a ConfigMap for as long as the block runs: what it wants to commit stays uncommitted.

    By a webhook that nobody answers, which is the world's failure: the operator tries again until it is mended. `saying`: only of updates after
    which the ConfigMap has this text.
    """
    kubectl, webhook = namespace.kubectl, f"hold-{namespace.name}"
    which = f"request.userInfo.username == '{namespace.operator_user}' && request.name == '{name}'"
    if saying:
        which += f" && object.data.exists(k, object.data[k].contains('{saying}'))"
    kubectl.apply({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": webhook},
        "webhooks": [{
            "name": _HELD,
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
            "matchConditions": [{"name": "operator", "expression": which}],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
        }],
    })  # fmt: skip

    def is_held() -> bool:
        note = {"metadata": {"annotations": {"test": "held"}}, "data": {"test": saying}}
        try:
            kubectl.patch("configmap", name, note, as_user=namespace.operator_user, dry_run=True)
        except ApiError as error:
            return _HELD in str(error)
        return False

    try:
        until(is_held, "commits are held")
        yield
    finally:
        kubectl.delete("ValidatingWebhookConfiguration", webhook)
        until(lambda: not is_held(), "commits are free")


_WRITE = """
import base64, os, sys
path = "/data/" + sys.argv[1]
os.chmod(path, 0o644)
new = base64.b64decode(sys.stdin.read())
with open(path, "r+b") as file:
    file.write(new)
    file.truncate(len(new) or os.path.getsize(path) // 2)
"""


@dataclass(frozen=True, slots=True)
class Spoiler:
    """A pod that writes to a volume what nobody should."""

    namespace: Namespace
    pod: str

    def write(self, path: str, content: bytes | None) -> None:
        """Overwrite a file in place, hard links and all, as a failing disk would; without content, cut it off in the middle."""
        encoded = base64.b64encode(content or b"").decode()
        self.namespace.kubectl("exec", "-i", self.pod, "--", "python3", "-c", _WRITE, path, stdin=encoded)


@contextmanager
def spoiler(namespace: Namespace, claim: str) -> Iterator[Spoiler]:
    """Lend a pod that has a volume writable."""
    kubectl, name = namespace.kubectl, f"spoiler-{claim}"
    volume = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}
    kubectl.apply(_python_pod(name, "import signal; signal.pause()", **volume))
    try:
        kubectl.wait_condition("pod", name, "Ready")
        yield Spoiler(namespace, name)
    finally:
        kubectl.delete("pod", name)


def write_to_volume(namespace: Namespace, claim: str, path: str, content: bytes | None) -> None:
    """Overwrite one file of a volume."""
    with spoiler(namespace, claim) as made:
        made.write(path, content)


# Gives the file to whoever asks, but only once it has been released.
_SOURCE = """
import base64, http.server, threading
asked, released = threading.Event(), threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/asked":
            return self.send(200 if asked.is_set() else 404)
        if self.path == "/release":
            released.set()
            return self.send(200)
        content = base64.b64decode(open("/content/model").read())
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:1000])
        self.wfile.flush()
        asked.set()
        released.wait()
        self.wfile.write(content[1000:])
    def send(self, code):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class HeldSource:
    """A source that stops in the middle of the file until it is released."""

    namespace: Namespace
    name: str

    @property
    def uri(self) -> str:
        return f"http://{self.name}:8080/model.onnx"

    def _is_asked(self) -> bool:
        try:
            self.namespace.kubectl.ask_pod(self.name, 8080, "/asked")
        except ApiError:
            return False
        return True

    def wait_asked(self) -> None:
        until(self._is_asked, "a sync Job is in the middle of the file")

    def release(self) -> None:
        self.namespace.kubectl.ask_pod(self.name, 8080, "/release")


@contextmanager
def held_source(namespace: Namespace, content: bytes, name: str = "held") -> Iterator[HeldSource]:
    """Serve a file whose second part comes only after `release`."""
    kubectl = namespace.kubectl
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"model": base64.b64encode(content).decode()},
        }
    )
    kubectl.apply({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 8080}]}
    })  # fmt: skip
    pod = _python_pod(
        name, _SOURCE, volumes=[{"name": "data", "emptyDir": {}}, {"name": "content", "configMap": {"name": name}}]
    )
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "content", "mountPath": "/content"})
    pod["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    kubectl.apply(pod)
    try:
        kubectl.wait_condition("pod", name, "Ready")
        yield HeldSource(namespace, name)
    finally:
        for kind in ("pod", "service", "configmap"):
            kubectl.delete(kind, name)


def evict(namespace: Namespace, pod: str) -> None:
    """Ask for an eviction, as `kubectl drain` does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}}
    namespace.kubectl.create(eviction, subresource="eviction")
