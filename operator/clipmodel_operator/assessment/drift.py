"""Does an object hold everything that we rendered? If so, applying it again would write nothing, and is left out.

Fields that others added do not count: server-side apply would leave them alone as well. Fields that we rendered once and no longer do are
found by the rendered-hash annotation, which is part of what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipmodel_operator.models.quantity import parse_quantity

#: What tells elements of a list of objects apart, in the order of trying; as the API's list-map keys have it, near enough for what we render.
#: Not `key`: lists of tolerations and of a ConfigMap's items are replaced as a whole, and a key may come twice.
#: A volume may be mounted twice as well: its mount's path comes before its name.
MERGE_KEYS = ("mountPath", "name", "containerPort", "uid", "type")
QUANTITY_PARENTS = frozenset({"requests", "limits", "sizeLimit"})


def holds(observed: object, desired: object, *, parent: str = "") -> bool:
    """Tell whether `observed` has everything that `desired` says."""
    # Both are made of dict and list: to ask for Mapping and Sequence takes twice as long, some hundred times a pass.
    if isinstance(desired, dict):
        return isinstance(observed, dict) and all(
            key in observed and holds(observed[key], value, parent=parent if parent in QUANTITY_PARENTS else str(key))
            for key, value in desired.items()
        )
    if isinstance(desired, (list, tuple)):
        return isinstance(observed, list) and _holds_list(observed, desired)
    if observed == desired:
        return True
    return parent in QUANTITY_PARENTS and _is_same_quantity(observed, desired)


def _holds_list(observed: list[Any], desired: Sequence[Any]) -> bool:
    for key in MERGE_KEYS:
        # Only where the key tells them apart: two tolerations, or two conditions of an affinity, may have the same.
        if _is_told_apart(desired, key):
            found = {o[key]: o for o in observed if isinstance(o, dict) and key in o}
            return all(d[key] in found and holds(found[d[key]], d) for d in desired)
    return len(observed) == len(desired) and all(holds(o, d) for o, d in zip(observed, desired, strict=True))


def _is_told_apart(desired: Sequence[Any], key: str) -> bool:
    values = [d[key] for d in desired if isinstance(d, dict) and key in d]
    return bool(desired) and len(values) == len(desired) and len({str(v) for v in values}) == len(values)


def _is_same_quantity(observed: object, desired: object) -> bool:
    try:
        return parse_quantity(str(observed)) == parse_quantity(str(desired))
    except ValueError:
        return False
