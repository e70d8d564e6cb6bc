"""Whose is an object? Which ClipModel it wakes is told by our label alone; whether it may be changed, by its owner or our label."""

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


def is_owned_by(obj: Mapping[str, Any], uid: str) -> bool:
    """Tell whether an object names this one as an owner."""
    return any(o.get("uid") == uid for o in obj["metadata"].get("ownerReferences") or ())


def is_foreign(kind: str, obj: Mapping[str, Any], *, key: Key, uid: str) -> bool:
    """Tell whether an object that has the name of a ClipModel's is somebody else's. One of ours may have lost its label or, under Retain, have no owner."""
    return not is_owned_by(obj, uid) and owner_of(kind, obj) != key
