"""The PersistentVolumeClaim that holds the versions."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.storage import AccessMode, ReclaimPolicy
from clipmodel_operator.models import names


def claim_name(model: ClipModel) -> str:
    """Name the claim that pods mount: ours, or the user's."""
    return model.spec.storage.existing_claim or names.claim_name(model.key.name)


def render_claim(model: ClipModel) -> dict[str, Any] | None:
    """Render the claim; None where the user brings one. Under Retain it has no owner, so that garbage collection leaves it."""
    storage = model.spec.storage
    if storage.existing_claim is not None:
        return None
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.claim_name(model.key.name),
            "ownerReferences": [model.owner_reference] if storage.reclaim_policy is ReclaimPolicy.DELETE else None,
            "labels": names.labels(model.key.name, names.COMPONENT_STORAGE),
        },
        "spec": {
            "accessModes": [mode.value for mode in storage.access_modes or (AccessMode.READ_WRITE_ONCE,)],
            "resources": {"requests": {"storage": storage.size}},
            "storageClassName": storage.storage_class_name,
        },
    }
