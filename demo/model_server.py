"""nginx inside the cluster, from which the sync Job fetches the model as it would from the internet."""

from typing import Any

from demo import settings
from demo.console import Narrator
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.model import Model

_ROLLOUT_S = 120
_COPY_S = 300
_TARGET = f"/models/{settings.MODEL_FILE}"
_PART = "/models/.part"


def serve(narrator: Narrator, kubectl: Kubectl, *, image: str, model: Model) -> None:
    """Run the server and put the model in, if it is not there.

    Raises:
        DemoError: the server does not start, or the copy arrives damaged.

    """
    with narrator.step("model server"):
        kubectl.apply(render_objects(image))
        kubectl.wait_for_rollout(settings.NAMESPACE, settings.MODEL_SERVER, timeout_s=_ROLLOUT_S)
        if _served_sha256(kubectl, _TARGET) == model.sha256:
            narrator.detail(f"{settings.MODEL_URI} is there")
            return
        pods = kubectl.get("pods", "-n", settings.NAMESPACE, "-l", f"app.kubernetes.io/name={settings.MODEL_SERVER}")
        running = [pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]]
        if not running:
            raise DemoError(
                "The model server has no pod.", advice=f"See why: kubectl -n {settings.NAMESPACE} get events"
            )
        pod = running[0]["metadata"]["name"]
        narrator.detail(f"kubectl cp {settings.relative(settings.MODEL)} {pod}:{_TARGET}")
        kubectl.run("cp", str(settings.MODEL), f"{settings.NAMESPACE}/{pod}:{_PART}", timeout_s=_COPY_S)
        # kubectl cp says yes to copies that were cut: only what has the right digest gets the name
        if _served_sha256(kubectl, _PART) != model.sha256:
            raise DemoError(
                "The copy in the model server is damaged.", advice="Run the demo again: it copies once more."
            )
        _in_server(kubectl, f"mv {_PART} {_TARGET}")
        narrator.detail(f"{settings.MODEL_URI} is there")


def _served_sha256(kubectl: Kubectl, path: str) -> str:
    return (_in_server(kubectl, f"sha256sum {path} 2>/dev/null || true").split() or [""])[0]


def _in_server(kubectl: Kubectl, script: str) -> str:
    server = f"deployment/{settings.MODEL_SERVER}"
    return kubectl.run("exec", "-n", settings.NAMESPACE, server, "--", "sh", "-c", script, timeout_s=60)


def render_objects(image: str) -> list[dict[str, Any]]:
    """Render Deployment and Service, fit for a namespace that allows only `restricted` pods."""
    labels = {"app.kubernetes.io/name": settings.MODEL_SERVER, "app.kubernetes.io/part-of": "clipmodel-demo"}
    metadata = {"name": settings.MODEL_SERVER, "namespace": settings.NAMESPACE, "labels": labels}
    selector = {"app.kubernetes.io/name": settings.MODEL_SERVER}
    container = {
        "name": "nginx",
        "image": image,
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "models", "mountPath": "/models"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "models", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]},
    }
    return [deployment, service]
