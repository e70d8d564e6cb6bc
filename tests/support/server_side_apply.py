"""What the API server makes of an object: quantities in its own spelling, defaults, and server-side apply, which merges by owner of fields.

Functions of their arguments; `fake_api_server` keeps the objects.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

from clipmodel_operator.models import names
from clipmodel_operator.models.quantity import parse_quantity

Object = dict[str, Any]

#: Lists that are maps, by the field that holds them; all others are replaced as a whole.
_LIST_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "ports": ("containerPort", "port"),
}
_QUANTITY_FIELDS = frozenset({"requests", "limits"})


def canonical_quantity(text: str | float) -> str:
    """Write a quantity as the API server does."""
    value = parse_quantity(text).quantize(Decimal("1e-9"), rounding=ROUND_CEILING)
    is_whole = value == value.to_integral_value()
    if str(text).endswith("i") and value >= 1024 and is_whole:
        power = 0
        while value % 1024 == 0 and power < 6:
            value, power = value / 1024, power + 1
        return f"{int(value)}{['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}"
    mantissa, power = int(value * 10**9), 0
    while mantissa and mantissa % 1000 == 0 and power < 9:
        mantissa, power = mantissa // 1000, power + 1
    return f"{mantissa}{['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'][power]}" if mantissa else "0"


def canonicalise(value: Any, *, parent: str = "") -> Any:
    """Write all quantities of an object as the API server does."""
    if isinstance(value, dict):
        if parent in _QUANTITY_FIELDS:
            return {k: canonical_quantity(v) for k, v in value.items()}
        return {k: canonical_quantity(v) if k == "sizeLimit" else canonicalise(v, parent=k) for k, v in value.items()}
    if isinstance(value, list):
        return [canonicalise(v) for v in value]
    return value


def _list_key(parent: str, *lists: Any) -> str | None:
    elements = [e for one in lists if isinstance(one, list) for e in one]
    return next(
        (k for k in _LIST_KEYS.get(parent, ()) if elements and all(isinstance(e, dict) and k in e for e in elements)),
        None,
    )


def merge(live: Any, applied: Any, previous: Any, *, parent: str = "") -> Any:
    """Merge what a manager applies into what is, and take out what it applied before and does no more."""
    if isinstance(applied, dict) and isinstance(live, dict):
        before = previous if isinstance(previous, dict) else {}
        result = {k: v for k, v in live.items() if k not in before or k in applied}
        for key in before.keys() - applied.keys():
            rest = merge(live[key], {}, before[key], parent=key) if isinstance(live.get(key), dict) else None
            if rest:
                result[key] = rest
        for key, value in applied.items():
            result[key] = merge(live[key], value, before.get(key), parent=key) if key in live else value
        return result
    key = _list_key(parent, live, applied)
    if isinstance(applied, list) and isinstance(live, list) and key:
        was = {e[key]: e for e in live}
        had = {e[key]: e for e in previous} if isinstance(previous, list) else {}
        mine = {e[key]: merge(was[e[key]], e, had.get(e[key])) if e[key] in was else e for e in applied}
        return [*mine.values(), *(e for k, e in was.items() if k not in mine and k not in had)]
    return applied


def with_defaults(obj: Object) -> Object:
    """Fill in what the API server fills in: enough to show that a comparison does not mind."""
    spec = obj.get("spec", {})
    match obj["kind"]:
        case "Service":
            spec.setdefault("clusterIP", "10.96.0.7")
            spec.setdefault("sessionAffinity", "None")
        case "Deployment":
            spec.setdefault("progressDeadlineSeconds", 600)
            spec["template"]["spec"].setdefault("dnsPolicy", "ClusterFirst")
            for container in spec["template"]["spec"]["containers"]:
                container.setdefault("imagePullPolicy", "IfNotPresent")
        case "PersistentVolumeClaim":
            spec.setdefault("storageClassName", "standard")
            spec.setdefault("volumeMode", "Filesystem")
            obj.setdefault("status", {"phase": "Pending"})
        case names.KIND:
            obj.setdefault("status", {"observedGeneration": -1})
        case _:
            pass
    return obj
