"""Where sync Jobs of the tests fetch from: the project's nginx image for true files, and a few lines of Python for what nginx would never do."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.api import ApiError
from support.cluster import Kubectl, Object

NAMESPACE = "clipmodel-test-fixtures"

# An honest Content-Length and a body that ends before it: what a dying proxy or a full disk behind it gives.
_TRUNCATING = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
        self.close_connection = True
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def _restricted(container: Object) -> Object:
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 0,
        "containers": [
            container
            | {
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            }
        ],
    }


def _server(name: str, container: Object) -> list[Object]:
    labels = {"app": name}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _restricted(container)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 8080}]},
        },
    ]


@contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time put files: another one's Job may be reading what is put a second time."""
    with Path(tempfile.gettempdir(), "clipmodel-test-model-server.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A running server; `put` gives the file's URI and digest."""

    kubectl: Kubectl
    pod: str

    @property
    def truncating_uri(self) -> str:
        return f"http://truncating.{NAMESPACE}.svc:8080/model.onnx"

    def uri(self, name: str) -> str:
        return f"http://model-server.{NAMESPACE}.svc:8080/{name}"

    def put(self, content: bytes | Path, name: str | None = None) -> tuple[str, str]:
        """Serve bytes, or a file, under a name (by default its digest)."""
        if isinstance(content, bytes):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "file")
                path.write_bytes(content)
                return self.put(path, name)
        with content.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        kept, name = name is None, name or f"{sha256[:16]}.onnx"
        with _locked():
            if not (kept and self._has(name, content.stat().st_size)):
                self.kubectl("cp", str(content), f"{self.pod}:/models/{name}", timeout_s=300)
        return self.uri(name), sha256

    def _has(self, name: str, size: int) -> bool:
        """Tell whether a file is there already: under a digest's name it is the same one, unless its copying was cut off."""
        last = {"Range": f"bytes={size - 1}-"}
        try:
            return len(self.kubectl.ask_pod(self.pod, 8080, f"/{name}", headers=last)) == 1
        except ApiError:
            return False


def start_model_server(kubectl: Kubectl, *, image: str, python_image: str) -> ModelServer:
    """Start both servers in a namespace of their own, and wait until they answer."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    fixtures = kubectl.within(NAMESPACE)
    servers = [
        *_server("model-server", {"name": "nginx", "image": image}),
        *_server("truncating", {"name": "python", "image": python_image, "command": ["python3", "-c", _TRUNCATING]}),
    ]
    for obj in servers:
        fixtures.apply(obj)
    for name in ("model-server", "truncating"):
        fixtures.wait_rolled_out(name)
    pods = fixtures.list("pods", selector="app=model-server")
    return ModelServer(fixtures, next(p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Running"))
