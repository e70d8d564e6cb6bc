"""Which fields of a live object are the operator's? Those that it rendered last, which the API server remembers in managedFields, and those that it renders now.

This sees what a comparison with the rendered object alone cannot: a field that was rendered once and no longer is, which server-side apply removes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clipmodel_operator.assessment.drift import MERGE_KEYS, QUANTITY_PARENTS, holds
from clipmodel_operator.models.names import FIELD_MANAGER

Object = Mapping[str, Any]


def owned_fields(live: Object) -> Object:
    """Give the operator's own entry of managedFields, a tree whose keys are `f:FIELD` and `k:{…}`; empty where it has none."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Object = entry.get("fieldsV1") or {}
            return fields
    return {}


def ours(live: Any, desired: Any, owned: Object, *, parent: str = "") -> Any:
    """Reduce a live value to what is the operator's, written as `desired` writes it where both mean the same."""
    if isinstance(live, Mapping):
        return _our_mapping(live, desired if isinstance(desired, Mapping) else {}, owned, parent)
    if isinstance(live, Sequence) and not isinstance(live, str):
        wanted = desired if isinstance(desired, Sequence) and not isinstance(desired, str) else ()
        return _our_list(live, wanted, owned)
    # The API server writes 1000m as 1: where both mean the same, there is no difference to show.
    return desired if desired is not None and holds(live, desired, parent=parent) else live


def _our_mapping(live: Object, desired: Object, owned: Object, parent: str) -> dict[str, Any]:
    is_atomic = not desired and not any(key.startswith("f:") for key in owned)
    mine = {key: desired[key] for key in desired if key in live}
    mine |= {key: None for key in live if key not in mine and (is_atomic or f"f:{key}" in owned)}
    return {
        key: ours(
            live[key],
            desired.get(key),
            owned.get(f"f:{key}") or {},
            parent=parent if parent in QUANTITY_PARENTS else key,
        )
        for key in mine
    }


def _merge_key(elements: Sequence[Any]) -> str | None:
    for key in MERGE_KEYS:
        if elements and all(isinstance(e, Mapping) and key in e for e in elements):
            return key
    return None


def _our_list(live: Sequence[Any], desired: Sequence[Any], owned: Object) -> list[Any]:
    owned_elements = {k[2:]: v for k, v in owned.items() if k.startswith("k:")}
    key = _merge_key(desired or [e for e in live if isinstance(e, Mapping)])
    if key is None or not (desired or owned_elements):
        if len(live) == len(desired):
            return [ours(e, d, {}) for e, d in zip(live, desired, strict=True)]
        return list(live)
    found = {e[key]: e for e in live if isinstance(e, Mapping) and key in e}
    wanted = {d[key]: d for d in desired}
    trees = {e: _tree_of(found[e], owned_elements) for e in found}
    chosen = [e for e in wanted if e in found] + [e for e in found if e not in wanted and trees[e] is not None]
    return [ours(found[e], wanted.get(e), trees[e] or {}) for e in chosen]


def _tree_of(element: Object, owned: Mapping[str, Any]) -> Object | None:
    """Find what is owned of a list's element; the tree's keys name it by one or more of its fields, as JSON."""
    for identity, tree in owned.items():
        if all(element.get(k) == v for k, v in json.loads(identity).items()):
            found: Object = tree
            return found
    return None
