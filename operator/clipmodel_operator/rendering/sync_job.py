"""The Job that fetches, checks and proves one version (docs/spec/sync.md)."""

from __future__ import annotations

from typing import Any

from clipmodel_contract import exit_codes
from clipmodel_contract.source_uri import ClaimUri, SourceUriError, parse_source_uri
from clipmodel_contract.volume_layout import SOURCE_MOUNT, VOLUME_MOUNT
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import ModelVersion, Profile
from clipmodel_operator.models import names
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.claim import claim_name
from clipmodel_operator.rendering.pods import (
    CONTAINER_SECURITY,
    NO_TELEMETRY,
    POD_SECURITY,
    gpu_resources,
    placement,
    pull_secrets,
)
from clipmodel_operator.rendering.settings import RenderSettings

CONTAINER = "sync"
# Kubernetes waits 10, 20, 40 s between pods; after that the operator's own slow retry takes over.
_BACKOFF_LIMIT = 3
# Six hours: 352 MB even at 20 kB/s. Without a limit a Job on a node that is gone would hang for ever.
_ACTIVE_DEADLINE_S = 6 * 3600
# Measured: 460 to 660 MiB at the peak of proving ViT-B-32 (352 MB).
_REQUESTS = {"cpu": "100m", "memory": "768Mi"}


def render_sync_job(
    model: ClipModel, version: ModelVersion, settings: RenderSettings, *, binds_volume: bool, node: str | None
) -> dict[str, Any]:
    """Render the Job of one version.

    `binds_volume`: the claim has no volume yet. Such a Job asks for the GPU too, so that the volume lands where a GPU is.
    `node`: where the claim is in use; a ReadWriteOnce volume can be mounted there only.
    Neither is part of the Job's name: they say where it runs, not what it does.
    """
    arguments = _arguments(model, version)
    gpu = gpu_resources(model) if model.spec.profile is Profile.GPU and binds_volume else {}
    volumes, mounts = _volumes(model, version)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            # What it does, not where or by which release: an operator upgrade must not touch Jobs that are at work or have ended.
            "name": names.job_name(model.key.name, version=version.version, work_hash=content_hash(arguments)),
            "labels": names.labels(model.key.name, names.COMPONENT_SYNC),
            "ownerReferences": [model.owner_reference],
        },
        "spec": {
            "backoffLimit": _BACKOFF_LIMIT,
            "activeDeadlineSeconds": _ACTIVE_DEADLINE_S,
            "podFailurePolicy": _failure_policy(),
            "template": {
                "metadata": {"labels": names.labels(model.key.name, names.COMPONENT_SYNC)},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": POD_SECURITY,
                    # Room to remove what is half fetched.
                    "terminationGracePeriodSeconds": 30,
                    **placement(model),
                    **pull_secrets(model),
                    **(_only_on(node) if node else _node_affinity(model)),
                    "containers": [
                        {
                            "name": CONTAINER,
                            "image": settings.sync_image,
                            "args": arguments,
                            "env": NO_TELEMETRY,
                            "resources": {"requests": _REQUESTS | gpu} | ({"limits": gpu} if gpu else {}),
                            "securityContext": CONTAINER_SECURITY,
                            "volumeMounts": mounts,
                        }
                    ],
                    "volumes": volumes,
                },
            },
        },
    }


def _arguments(model: ClipModel, version: ModelVersion) -> list[str]:
    """Give the arguments of the contract (docs/spec/sync.md); the Job's name carries their hash."""
    tensors = model.tensors
    return [
        f"--volume={VOLUME_MOUNT}",
        f"--source-root={SOURCE_MOUNT}",
        "--report=/dev/termination-log",
        f"--model={model.model_name}",
        f"--version={version.version}",
        # Kubernetes expands $(NAME) in arguments, and makes one of $$.
        f"--uri={version.source.uri.replace('$', '$$')}",
        f"--sha256={version.source.sha256}",
        f"--input-name={tensors.input_name}",
        f"--image-size={tensors.image_size}",
        f"--output-name={tensors.output_name}",
        f"--dimension={tensors.dimension}",
    ]


def _volumes(model: ClipModel, version: ModelVersion) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give volumes and mounts: the model's claim as a whole, room for the program, and a source that is on a claim itself."""
    volumes: list[dict[str, Any]] = [
        {"name": "volume", "persistentVolumeClaim": {"claimName": claim_name(model)}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [{"name": "volume", "mountPath": VOLUME_MOUNT}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - in the container
    claim = _source_claim(version.source.uri)
    if claim is not None:
        volumes.append({"name": "source", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        mounts.append({"name": "source", "mountPath": f"{SOURCE_MOUNT}/{claim}", "readOnly": True})
    return volumes, mounts


def _source_claim(uri: str) -> str | None:
    """Name the claim that a source is on. A URI that names no source mounts nothing: the Job says what is wrong with it."""
    try:
        source = parse_source_uri(uri)
    except SourceUriError:
        return None
    return source.claim if isinstance(source, ClaimUri) else None


def _failure_policy() -> dict[str, Any]:
    final = {"containerName": CONTAINER, "operator": "In", "values": [int(code) for code in exit_codes.FINAL]}
    return {
        "rules": [
            {"action": "FailJob", "onExitCodes": final},
            # An evicted or drained pod is nobody's failure.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
    }


def _node_affinity(model: ClipModel) -> dict[str, Any]:
    """Give the part of affinity that is about nodes: what it says of other pods is meant for servers."""
    affinity = model.spec.serving.affinity
    if affinity is None or affinity.node_affinity is None:
        return {}
    return {"affinity": {"nodeAffinity": affinity.node_affinity.to_manifest()}}


def _only_on(node: str) -> dict[str, Any]:
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [by_name]}}
        }
    }
