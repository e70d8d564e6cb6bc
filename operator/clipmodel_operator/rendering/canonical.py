"""Hashes of rendered content: the same content gives the same hash, in any order of keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from clipmodel_operator.models import names


def canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(value: object) -> str:
    """Give 16 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def without_none(value: Any) -> Any:
    """Leave out of dicts what is None, at every depth: server-side apply would own, and clear, such a field."""
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_none(v) for v in value]
    return value


def with_hash(manifest: dict[str, Any]) -> dict[str, Any]:
    """Add the hash of what is rendered: it tells later that a field is rendered no more, which a comparison of values cannot see."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.ANNOTATION_HASH: content_hash(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
