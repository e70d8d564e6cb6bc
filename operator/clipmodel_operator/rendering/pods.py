"""What every pod of ours has: the `restricted` Pod Security Standard, a read-only root, no telemetry, and where it may run."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import Profile

#: Writer and reader of the volume are the same user: many drivers ignore fsGroup.
USER_ID = 1000
GPU_RESOURCE = "nvidia.com/gpu"

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    # A volume of several versions is not chown'ed file by file at every pod start.
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
#: onnxruntime from 1.29 on, and the Hugging Face libraries, report home unless told not to.
NO_TELEMETRY: list[dict[str, str]] = [
    {"name": "ORT_DISABLE_TELEMETRY", "value": "1"},
    {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
]
GPU_TOLERATION = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}


def gpu_resources(model: ClipModel) -> dict[str, int]:
    """Give what a pod of profile gpu asks for, beside what `resources` says."""
    gpu = model.spec.serving.gpu
    return {gpu.resource_name: gpu.count} if gpu else {GPU_RESOURCE: 1}


def placement(model: ClipModel) -> dict[str, Any]:
    """Give nodeSelector and tolerations. Sync Jobs have the same: the first one decides where the volume is bound."""
    serving = model.spec.serving
    tolerations = [t.to_manifest() for t in serving.tolerations or []]
    if model.spec.profile is Profile.GPU:
        # GPU nodes are commonly tainted with the resource's name; whoever asks for the GPU tolerates that. Nodes with divided or shared
        # GPUs keep the taint of whole ones.
        keys = dict.fromkeys([GPU_RESOURCE, *gpu_resources(model)])
        tolerations += [{**GPU_TOLERATION, "key": key} for key in keys]
    return {
        "nodeSelector": dict(serving.node_selector) if serving.node_selector else None,
        "tolerations": tolerations or None,
    }


def pull_secrets(model: ClipModel) -> dict[str, Any]:
    """Give imagePullSecrets, where there are any: a key more would be another hash of a sync Job."""
    secrets = model.spec.serving.image_pull_secrets
    return {"imagePullSecrets": [s.to_manifest() for s in secrets]} if secrets else {}
