"""How do the live objects differ from what the operator would make of them? As text, object by object, and in what it does to running pods. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipmodel_operator.inspection.ownership import ours, owned_fields
from clipmodel_operator.offline import dump_yaml
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_map import PROBE_KEY, RECORDS_KEY, REVISIONS_KEY, VERSIONS_KEY
from clipmodel_operator.rendering.config_pbtxt import config_id

Object = Mapping[str, Any]
UNPROVEN = "(proven by the sync Job)"
_CONTEXT_LINES = 3
_RECORD_KEYS = frozenset({VERSIONS_KEY, RECORDS_KEY})
_GOLDEN = "golden"
_DIGESTED = frozenset({"signature", "vectors"})


@dataclass(frozen=True, slots=True)
class ObjectDiff:
    """One object's difference."""

    kind: str
    name: str
    is_new: bool
    lines: tuple[str, ...]
    """A unified diff; none where there is no difference."""
    restarts: bool
    """The pod template differs: running pods are replaced."""
    entries: frozenset[str] = frozenset()
    """Of a ConfigMap: the entries that differ."""


def _digest(value: object) -> str:
    """Stand for something long: equal digests, equal contents."""
    return f"({content_hash(value)[:12]})"


@dataclass(frozen=True, slots=True)
class _Unproven:
    """Versions whose golden vectors are made by the sync Job, and are stood in for until then."""

    versions: frozenset[int]
    digests: frozenset[str]


def _unproven_in(desired: Object, versions: Sequence[int]) -> _Unproven:
    records = _parse((desired.get("data") or {}).get(RECORDS_KEY)) or {}
    digests = {r["sha256"] for r in (records.get("versions") or {}).values() if r.get("version") in versions}
    return _Unproven(frozenset(versions), frozenset(digests))


def _parse(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def _shorten_proofs(text: str, unproven: _Unproven) -> str:
    """Make proofs and records readable: golden vectors are kilobytes of base64, and signatures a page."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("version") in unproven.versions and "sha256" in value:
                return {"version": value["version"], "sha256": value["sha256"], "golden": UNPROVEN}
            return {k: _by_digest(v) if k == _GOLDEN else _shorten(k, v) for k, v in value.items()}
        return [walk(v) for v in value] if isinstance(value, list) else value

    def _by_digest(value: Any) -> Any:
        if not isinstance(value, dict) or "vectors" in value:
            return _digest(value)
        return {sha256: UNPROVEN if sha256 in unproven.digests else _digest(v) for sha256, v in value.items()}

    def _shorten(key: str, value: Any) -> Any:
        return _digest(value) if key in _DIGESTED else walk(value)

    content = _parse(text)
    return text if content is None else json.dumps(walk(content), indent=1, sort_keys=True)


def _shorten_revisions(text: str) -> str:
    """Name revisions and configs by their ids: what the configs say stands in the .pbtxt."""
    try:
        stored = json.loads(text)
        revisions = {
            r["id"]: {**r, "configs": {p: config_id(c) for p, c in r["configs"].items()}} for r in stored["revisions"]
        }
        for revision in revisions.values():
            del revision["id"]
        return json.dumps({**stored, "revisions": revisions}, indent=1, sort_keys=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text


def _readable_entry(key: str, text: str, unproven: _Unproven) -> str:
    if key in _RECORD_KEYS:
        return _shorten_proofs(text, unproven)
    if key == REVISIONS_KEY:
        return _shorten_revisions(text)
    # A program of the operator's release: that it is another one is what matters.
    return f"a program of {len(text.splitlines())} lines {_digest(text)}" if key == PROBE_KEY else text


def _readable(obj: Object, unproven: _Unproven) -> dict[str, Any]:
    """Prepare an object for a person: proofs short, and without what cannot be known before the sync Job has run."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "namespace"}
    shown = {**obj, "metadata": metadata}
    if obj["kind"] != "ConfigMap":
        return shown
    if unproven.versions:
        # Hashes of a content that is not known yet.
        metadata["annotations"] = {
            k: v for k, v in (metadata.get("annotations") or {}).items() if not k.endswith("-hash")
        }
    data = {k: _readable_entry(k, v, unproven) for k, v in (obj.get("data") or {}).items()}
    return {**shown, "data": data}


def _without_unproven_spaces(obj: Object, unproven: Sequence[int]) -> Object:
    """Leave out the embedding spaces where a version is not proven yet: whether it opens one is not known."""
    if obj["kind"] != "ConfigMap" or not unproven:
        return obj
    data = dict(obj.get("data") or {})
    try:
        records = json.loads(data[RECORDS_KEY])
        records.pop("spaces", None)
    except (KeyError, ValueError, AttributeError):
        return obj
    return {**obj, "data": {**data, RECORDS_KEY: json.dumps(records)}}


def compare(live: Object | None, desired: Object, *, unproven: Sequence[int] = ()) -> ObjectDiff:
    """Compare one object in the fields that are the operator's."""
    kind, name = desired["kind"], desired["metadata"]["name"]
    stood_in = _unproven_in(desired, unproven)
    wanted = _readable(_without_unproven_spaces(desired, unproven), stood_in)
    if live is None:
        return ObjectDiff(kind, name, is_new=True, lines=_unified("", dump_yaml(wanted), kind, name), restarts=False)
    mine = ours(live, desired, owned_fields(live))
    is_template_same = mine.get("spec", {}).get("template") == desired.get("spec", {}).get("template")
    present = _readable(_without_unproven_spaces(mine, unproven), stood_in)
    before, after = mine.get("data") or {}, desired.get("data") or {}
    return ObjectDiff(
        kind,
        name,
        is_new=False,
        lines=_unified(dump_yaml(_in_order(present, wanted)), dump_yaml(wanted), kind, name),
        restarts=kind == "Deployment" and not is_template_same,
        entries=frozenset(k for k in {*before, *after} if before.get(k) != after.get(k)),
    )


def _in_order(present: Any, wanted: Any) -> Any:
    """Put keys into the order of what is wanted: the API server gives them in its own."""
    if isinstance(present, Mapping):
        order = wanted if isinstance(wanted, Mapping) else {}
        keys = [k for k in order if k in present] + [k for k in present if k not in order]
        return {k: _in_order(present[k], order.get(k)) for k in keys}
    if isinstance(present, list) and isinstance(wanted, list):
        return [_in_order(p, wanted[i] if i < len(wanted) else None) for i, p in enumerate(present)]
    return present


def _unified(before: str, after: str, kind: str, name: str) -> tuple[str, ...]:
    return tuple(
        line.rstrip("\n")
        for line in difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            f"live {kind}/{name}",
            f"rendered {kind}/{name}",
            n=_CONTEXT_LINES,
            lineterm="",
        )
    )
