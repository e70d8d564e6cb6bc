"""What every pod of ours has: the `restricted` Pod Security Standard, a read-only root, no telemetry, and where it may run."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.models.api import Profile
from clipmodel_operator.models.clipmodel import ClipModel

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


def placement(model: ClipModel) -> dict[str, Any]:
    """Give nodeSelector and tolerations. Sync Jobs have the same: the first one decides where the volume is bound."""
    serving = model.spec.serving
    tolerations = [t.model_dump(by_alias=True, exclude_none=True) for t in serving.tolerations or []]
    if model.spec.profile is Profile.GPU:
        # GPU nodes are commonly tainted with the resource's name; whoever asks for the GPU tolerates that.
        tolerations.append(dict(GPU_TOLERATION))
    return {
        "nodeSelector": dict(serving.node_selector) if serving.node_selector else None,
        "tolerations": tolerations or None,
    }
