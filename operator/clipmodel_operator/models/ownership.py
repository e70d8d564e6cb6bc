"""Whose is an object? Told by our label alone: what has no label of ours is nobody's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_operator.models import names
from clipmodel_operator.models.names import Key


def owner_of(kind: str, obj: Mapping[str, Any]) -> Key | None:
    """Name the ClipModel of an object: itself, or the one that our label names."""
    metadata = obj["metadata"]
    if kind == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    labels = metadata.get("labels") or {}
    name = labels.get(names.LABEL_MODEL)
    return (
        Key(metadata["namespace"], name) if name and labels.get(names.LABEL_MANAGED_BY) == names.FIELD_MANAGER else None
    )
