"""The PersistentVolumeClaim that holds the versions."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.models import names
from clipmodel_operator.models.api import ReclaimPolicy
from clipmodel_operator.models.clipmodel import ClipModel


def render_claim(model: ClipModel) -> dict[str, Any]:
    """Render the claim. Under Retain it has no owner, so that garbage collection leaves it."""
    storage = model.spec.storage
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.claim_name(model.key.name),
            "ownerReferences": [model.owner_reference] if storage.reclaim_policy is ReclaimPolicy.DELETE else None,
            "labels": names.labels(model.key.name, names.COMPONENT_STORAGE),
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": storage.size}},
            "storageClassName": storage.storage_class_name,
        },
    }
