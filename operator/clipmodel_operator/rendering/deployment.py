"""The Triton pods. A change here restarts every model on an operator upgrade: golden files show it, and the changelog must say it."""

from __future__ import annotations

from typing import Any

from clipmodel_contract.control import CONTROL_HEADER, CONTROL_KEY_VARIABLE
from clipmodel_contract.ports import GRPC_PORT, HTTP_PORT, METRICS_PORT
from clipmodel_contract.volume_layout import CONFIGS, REPOSITORY, REPOSITORY_MOUNT
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.serving import STARTUP_PERIOD_S
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models import names
from clipmodel_operator.models.quantity import parse_seconds
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.rendering.canonical import content_hash, without_none
from clipmodel_operator.rendering.claim import claim_name
from clipmodel_operator.rendering.config_map import PROBE_KEY, VERSIONS_KEY, config_key
from clipmodel_operator.rendering.control_key import SECRET_KEY
from clipmodel_operator.rendering.pods import (
    CONTAINER_SECURITY,
    NO_TELEMETRY,
    POD_SECURITY,
    gpu_resources,
    placement,
    pull_secrets,
)
from clipmodel_operator.rendering.settings import RenderSettings

# Endpoint groups that change or read out the server. What clients need stays open: health, metadata, inference, statistics.
_RESTRICTED = "model-repository,model-config,shared-memory,trace,logging"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
# What Triton has for requests that run, at least, and what is left of the grace period after that.
_LEAST_EXIT_S = 5
_EXIT_MARGIN_S = 20


def _grace_period_s(model: ClipModel, settings: RenderSettings) -> int:
    """Give the grace period that was asked for; a longer one where preStop would leave Triton no time."""
    return max(model.spec.serving.termination_grace_period_s, settings.pre_stop_s + _LEAST_EXIT_S + _EXIT_MARGIN_S)


def _args(model: ClipModel, settings: RenderSettings) -> list[str]:
    exit_timeout_s = _grace_period_s(model, settings) - settings.pre_stop_s - _EXIT_MARGIN_S
    return [
        f"--model-repository={REPOSITORY_MOUNT}",
        "--model-control-mode=explicit",
        f"--load-model={model.model_name}",
        f"--model-config-name={model.spec.profile.value}",
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={exit_timeout_s}",
        f"--http-port={HTTP_PORT}",
        f"--grpc-port={GRPC_PORT}",
        f"--metrics-port={METRICS_PORT}",
        f"--http-restricted-api={_RESTRICTED}:{CONTROL_HEADER}=$({CONTROL_KEY_VARIABLE})",
        f"--grpc-restricted-protocol={_RESTRICTED}:{CONTROL_HEADER}=$({CONTROL_KEY_VARIABLE})",
    ]


def _resources(model: ClipModel) -> dict[str, Any] | None:
    wanted = model.spec.serving.resources
    requests, limits = dict(wanted.requests or {}), dict(wanted.limits or {})
    if model.spec.profile is Profile.GPU:
        # Extended resources have requests equal to limits.
        for resource, count in gpu_resources(model).items():
            limits.setdefault(resource, requests.get(resource, count))
            requests[resource] = limits[resource]
    return {"requests": requests or None, "limits": limits or None} if requests or limits else None


def _probes(model: ClipModel) -> dict[str, Any]:
    probes = model.spec.serving.probes
    readiness_s, liveness_s = parse_seconds(probes.readiness.period), parse_seconds(probes.liveness.period)
    return {
        # Ports open only after the model has loaded: by default up to 15 minutes for a slow disk and a large image of weights.
        "startupProbe": {
            "exec": {"command": ["python3", f"/etc/clipmodel/{PROBE_KEY}"]},
            "periodSeconds": STARTUP_PERIOD_S,
            "timeoutSeconds": 60,
            "failureThreshold": probes.startup.failure_threshold,
        },
        # Not /v2/health/ready: it is false while a version loads, and true after an unload.
        "readinessProbe": {
            "httpGet": {"path": f"/v2/models/{model.model_name}/ready", "port": "http"},
            "periodSeconds": readiness_s,
            "timeoutSeconds": 5,
            "failureThreshold": probes.readiness.failure_threshold,
        },
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": "http"},
            "periodSeconds": liveness_s,
            "timeoutSeconds": 10,
            "failureThreshold": probes.liveness.failure_threshold,
        },
    }


def _affinity(model: ClipModel) -> dict[str, Any] | None:
    """Give the user's affinity, and beside it that all pods are on one node, where the volume asks for that.

    The first pod has no other to be near, and may go anywhere.
    """
    affinity: dict[str, Any] = model.spec.serving.affinity.to_manifest() if model.spec.serving.affinity else {}
    if not model.spec.storage.keeps_pods_together:
        return affinity or None
    together = {
        "labelSelector": {"matchLabels": names.selector_labels(model.key.name)},
        "topologyKey": "kubernetes.io/hostname",
    }
    near = dict(affinity.get("podAffinity") or {})
    required = [*(near.get(_REQUIRED) or ()), together]
    return {**affinity, "podAffinity": {**near, _REQUIRED: required}}


def _scheduling(model: ClipModel) -> dict[str, Any]:
    """Give what says where, and with which rank, the pods run."""
    serving = model.spec.serving
    spread = []
    for constraint in serving.topology_spread_constraints or ():
        ours = {"labelSelector": {"matchLabels": names.selector_labels(model.key.name)}}
        spread.append({**ours, **constraint.to_manifest()})
    return {
        **placement(model),
        "affinity": _affinity(model),
        "topologySpreadConstraints": spread or None,
        "priorityClassName": serving.priority_class_name,
        "runtimeClassName": serving.runtime_class_name,
        "serviceAccountName": serving.service_account_name,
        **pull_secrets(model),
    }


def _container(model: ClipModel, settings: RenderSettings, *, control_secret: str) -> dict[str, Any]:
    return {
        "name": names.SERVER_CONTAINER,
        "image": model.spec.serving.image or settings.triton_image,
        "command": ["tritonserver"],
        "args": _args(model, settings),
        "env": [
            *NO_TELEMETRY,
            {
                "name": CONTROL_KEY_VARIABLE,
                "valueFrom": {"secretKeyRef": {"name": control_secret, "key": SECRET_KEY}},
            },
        ],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(model),
        **_probes(model),
        "lifecycle": {"preStop": {"sleep": {"seconds": settings.pre_stop_s}}},
        # Why it ended is in its last lines; without this status could not say.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "models", "mountPath": REPOSITORY_MOUNT, "subPath": REPOSITORY, "readOnly": True},
            {"name": "config", "mountPath": f"{REPOSITORY_MOUNT}/{model.model_name}/{CONFIGS}", "readOnly": True},
            {"name": "proof", "mountPath": "/etc/clipmodel", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - in the container
        ],
    }


def _volumes(model: ClipModel, slot: str) -> list[dict[str, Any]]:
    def from_config_map(*keys: str) -> dict[str, Any]:
        return {
            "name": names.config_map_name(model.key.name, slot=slot),
            "items": [{"key": k, "path": k} for k in keys],
        }

    return [
        {"name": "models", "persistentVolumeClaim": {"claimName": claim_name(model)}},
        {"name": "config", "configMap": from_config_map(config_key(model.spec.profile.value))},
        {"name": "proof", "configMap": from_config_map(VERSIONS_KEY, PROBE_KEY)},
        {"name": "tmp", "emptyDir": {}},
        # 64 MiB by default, of which 71 % were in use with 8 clients at batch 32.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]


def with_template_hash(template: dict[str, Any]) -> dict[str, Any]:
    """Add the template's own hash (anew, where it has one), by which a pod tells whether it is of this template."""
    metadata = template["metadata"]
    others = {k: v for k, v in metadata["annotations"].items() if k != names.ANNOTATION_TEMPLATE}
    content = {**template, "metadata": {**metadata, "annotations": others}}
    annotations = {**others, names.ANNOTATION_TEMPLATE: content_hash(without_none(content))}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def _template(model: ClipModel, settings: RenderSettings, *, control_secret: str, slot: str) -> dict[str, Any]:
    serving = model.spec.serving
    return {
        "metadata": {
            "labels": {**(serving.pod_labels or {}), **names.labels(model.key.name, names.COMPONENT_SERVER)},
            "annotations": {**(serving.pod_annotations or {}), names.ANNOTATION_PROFILE: model.spec.profile.value},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": POD_SECURITY,
            "terminationGracePeriodSeconds": _grace_period_s(model, settings),
            **_scheduling(model),
            "containers": [_container(model, settings, control_secret=control_secret)],
            "volumes": _volumes(model, slot),
        },
    }


def template_hash(model: ClipModel, settings: RenderSettings, *, control_secret: str, slot: str = "") -> str:
    """Give the hash of the pod template. What fails on pods of one template may do well on those of another; there the slot does not count."""
    template = with_template_hash(_template(model, settings, control_secret=control_secret, slot=slot))
    return str(template["metadata"]["annotations"][names.ANNOTATION_TEMPLATE])


def render_deployment(
    model: ClipModel, settings: RenderSettings, *, control_secret: str, strategy: UpdateStrategy, slot: str = ""
) -> dict[str, Any]:
    """Render the Deployment. Versions and batching are not part of it: they change in running servers, without a restart. `slot`: which files its pods read."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": model.key.name,
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            "ownerReferences": [model.owner_reference],
        },
        "spec": {
            "replicas": model.spec.serving.replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": names.selector_labels(model.key.name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": strategy.max_surge, "maxUnavailable": strategy.max_unavailable},
            },
            "template": with_template_hash(_template(model, settings, control_secret=control_secret, slot=slot)),
        },
    }
