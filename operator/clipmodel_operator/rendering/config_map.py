"""The one ConfigMap: both profiles' config.pbtxt, the served versions' golden vectors, the startup probe, and the records of all versions.

It is the commit: what a restarted pod reads is what is served. Both profiles are always there, so that a change between them finds the old
pods' config as long as one of them may restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipmodel_contract.report import VersionRecord, parse_report
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES
from clipmodel_operator.models import names
from clipmodel_operator.models.spaces import EmbeddingSpace, read_spaces
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_pbtxt import config_id, hash_config, render_config_pbtxt
from clipmodel_operator.rendering.package_files import STARTUP_PROBE
from clipmodel_operator.rendering.read_pbtxt import ConfigTextError, read_config_pbtxt

VERSIONS_KEY = "versions.json"
RECORDS_KEY = "records.json"
PROBE_KEY = "probe.py"
_ANNOTATION_CONTENT = f"{names.GROUP}/content-hash"


def config_key(profile: str) -> str:
    return f"{profile}.pbtxt"


@dataclass(frozen=True, slots=True)
class Committed:
    """What a ConfigMap says: the versions that serve, and all that is known of any version."""

    versions: tuple[int, ...] = ()
    records: tuple[VersionRecord, ...] = ()
    spaces: tuple[EmbeddingSpace, ...] = ()
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)
    """The config of each profile as it was committed, in the JSON that a load sends. Empty before it was read from a ConfigMap."""


def _to_json(records: Sequence[VersionRecord]) -> dict[str, Any]:
    return {str(r.version): r.to_json() for r in sorted(records, key=lambda r: r.version)}


def render_config_map(model: ClipModel, committed: Committed) -> dict[str, Any]:
    """Render the commit, whose versions must not be empty."""
    tensors = model.tensors
    serving = [r for r in committed.records if r.version in committed.versions]
    versions = {
        "model": model.model_name,
        "input": tensors.input_name,
        "output": tensors.output_name,
        "imageSize": tensors.image_size,
        "minCosine": model.spec.verification.min_cosine,
        "versions": _to_json(serving),
    }
    records = {"versions": _to_json(committed.records), "spaces": [s.to_json() for s in committed.spaces]}
    data = {
        config_key(profile.value): render_config_pbtxt(model, versions=committed.versions, profile=profile)
        for profile in SERVED_PROFILES
    } | {
        VERSIONS_KEY: json.dumps(versions, indent=1, sort_keys=True),
        RECORDS_KEY: json.dumps(records, indent=1, sort_keys=True),
        PROBE_KEY: STARTUP_PROBE,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.config_map_name(model.key.name),
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            # Of what is read back alone: it must be what was written.
            "annotations": {_ANNOTATION_CONTENT: _content_hash(data)},
            "ownerReferences": [model.owner_reference],
        },
        "data": data,
    }


def _content_hash(data: Mapping[str, Any]) -> str:
    return content_hash([data.get(VERSIONS_KEY), data.get(RECORDS_KEY)])


def read_committed(config_map: Mapping[str, Any] | None) -> Committed:
    """Read what is committed. Nothing is read from a ConfigMap that was edited by hand: the volume has the truth, and a Job reads it again."""
    if config_map is None:
        return Committed()
    data, annotations = config_map.get("data") or {}, config_map["metadata"].get("annotations") or {}
    if annotations.get(_ANNOTATION_CONTENT) != _content_hash(data):
        return Committed()
    try:
        known = json.loads(data[RECORDS_KEY])
        records = [parse_report(json.dumps(report)) for report in known["versions"].values()]
        serving = tuple(sorted(int(v) for v in json.loads(data[VERSIONS_KEY])["versions"]))
        spaces = read_spaces(known["spaces"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return Committed()
    configs = {p.value: c for p in SERVED_PROFILES if (c := _read_config(data.get(config_key(p.value)), serving))}
    return Committed(serving, tuple(r for r in records if isinstance(r, VersionRecord)), spaces, configs)


def _read_config(text: str | None, versions: Sequence[int]) -> dict[str, Any] | None:
    """Read a committed config; None for one that is not as it was written, or is of other versions."""
    try:
        config = read_config_pbtxt(text or "")
        is_whole = config_id(config) == hash_config(config)
        is_of_versions = tuple(config["version_policy"]["specific"]["versions"]) == tuple(versions)
    except (ConfigTextError, KeyError, TypeError):
        return None
    return config if is_whole and is_of_versions else None
