"""The same by hand: the manifests that somebody would write who wants this model on this Triton, and no operator."""

from __future__ import annotations

from typing import Any

from bench.api import Object
from clipmodel_contract.ports import HTTP_PORT

CLAIM = "models"
SERVER = "triton"
_LABELS = {"app": SERVER, "app.kubernetes.io/component": "server"}
_COPIER_LABELS = {"app": "copier", "app.kubernetes.io/component": "sync"}
_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Copies as `curl -o` would: no digest, no flush, no proof.
_COPY = """
import os, sys, urllib.request
uri, folder, config = sys.argv[1:]
os.makedirs(folder + "/1")
open(folder + "/config.pbtxt", "w").write(config)
with urllib.request.urlopen(uri) as source, open(folder + "/1/model.onnx", "wb") as target:
    while chunk := source.read(1 << 20):
        target.write(chunk)
"""


def claim() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
    }


def copier(*, image: str, uri: str, model: str, config: str) -> Object:
    """A pod that puts model and config into the volume, and ends."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "copier", "labels": _COPIER_LABELS},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": _SECURITY,
            "containers": [
                {
                    "name": "copier",
                    "image": image,
                    "command": ["python3", "-c", _COPY, uri, f"/volume/repository/{model}", config],
                    "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
                }
            ],
            "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }


def deployment(*, image: str, model: str, replicas: int = 1) -> Object:
    """Triton on the volume. Ready is asked for every second: nobody who waits for it by hand would wait longer."""
    container: dict[str, Any] = {
        "name": "triton",
        "image": image,
        "command": ["tritonserver"],
        "args": [
            "--model-repository=/models",
            "--model-control-mode=explicit",
            f"--load-model={model}",
            "--disable-auto-complete-config",
        ],
        "env": [{"name": "ORT_DISABLE_TELEMETRY", "value": "1"}],
        "ports": [{"name": "http", "containerPort": HTTP_PORT}],
        "readinessProbe": {
            "httpGet": {"path": f"/v2/models/{model}/ready", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "subPath": "repository", "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - in the container
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": SERVER},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": SERVER}},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "securityContext": _SECURITY,
                    "containers": [container],
                    "volumes": [
                        {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                    ],
                },
            },
        },
    }


def service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVER},
        "spec": {"selector": {"app": SERVER}, "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http"}]},
    }
