"""Installs CRD and operator by `kubectl apply -k`.

A generated overlay on manifests/demo puts in the images that were made of this checkout.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from demo import settings
from demo.console import Narrator
from demo.kubectl import FIELD_MANAGER, Kubectl

_ROLLOUT_S = 180
_ENVIRONMENT = ("CLIPMODEL_SYNC_IMAGE", "CLIPMODEL_TRITON_IMAGE")


def install(narrator: Narrator, kubectl: Kubectl, images: Mapping[str, str]) -> None:
    """Apply, and wait until the operator runs."""
    with narrator.step("operator"):
        settings.OVERLAY.mkdir(parents=True, exist_ok=True)
        overlay = render_overlay(images, base=os.path.relpath(settings.MANIFESTS, settings.OVERLAY))
        # YAML is a superset of JSON
        (settings.OVERLAY / "kustomization.yaml").write_text(json.dumps(overlay, indent=2) + "\n")
        narrator.detail(f"kubectl apply --server-side -k {settings.relative(settings.OVERLAY)}")
        kubectl.run("apply", "--server-side", "--field-manager", FIELD_MANAGER, "-k", str(settings.OVERLAY))
        kubectl.run("wait", "--for=condition=Established", "crd/clipmodels.clipmodel.dev", "--timeout=60s")
        kubectl.wait_for_rollout(settings.SYSTEM_NAMESPACE, settings.OPERATOR, timeout_s=_ROLLOUT_S)


def render_overlay(images: Mapping[str, str], *, base: str) -> dict[str, Any]:
    """Render the kustomization: the operator's own image, and those that it gets by its environment."""
    # A patch and not `images:`, which goes by the name that a base may have changed already.
    container = {
        "name": "operator",
        "image": images["CLIPMODEL_OPERATOR_IMAGE"],
        "env": [{"name": variable, "value": images[variable]} for variable in _ENVIRONMENT],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": settings.OPERATOR, "namespace": settings.SYSTEM_NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "patches": [{"patch": json.dumps(deployment)}],
    }
