"""The one ConfigMap: config.pbtxt, the versions' records with their golden vectors, and the startup probe.

It is the commit: what a restarted pod reads is what is served.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from clipmodel_operator.models import golden, names
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.records import VersionRecord, parse_report
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_pbtxt import render_config_pbtxt

VERSIONS_KEY = "versions.json"
PROBE_KEY = "probe.py"
_ANNOTATION_CONTENT = f"{names.GROUP}/content-hash"


def config_key(profile: str) -> str:
    return f"{profile}.pbtxt"


def render_probe() -> str:
    """Put the startup probe together: the golden check as the operator itself runs it, and a main program."""
    program = resources.files("clipmodel_operator.rendering").joinpath("templates/probe_main.py.txt").read_text("utf-8")
    return inspect.getsource(golden) + program


def render_config_map(model: ClipModel, records: Sequence[VersionRecord]) -> dict[str, Any]:
    """Render the commit of `records`, which must not be empty."""
    tensors = model.tensors
    versions = {
        "model": model.model_name,
        "input": tensors.input_name,
        "output": tensors.output_name,
        "imageSize": tensors.image_size,
        "versions": {str(r.version): r.to_json() for r in sorted(records, key=lambda r: r.version)},
    }
    data = {
        config_key(model.spec.profile.value): render_config_pbtxt(model, versions=[r.version for r in records]),
        VERSIONS_KEY: json.dumps(versions, indent=1, sort_keys=True),
        PROBE_KEY: render_probe(),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.config_map_name(model.key.name),
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            # Of the records alone: they are read back, and must be what was written.
            "annotations": {_ANNOTATION_CONTENT: content_hash(data[VERSIONS_KEY])},
            "ownerReferences": [model.owner_reference],
        },
        "data": data,
    }


def read_records(config_map: Mapping[str, Any] | None) -> tuple[VersionRecord, ...]:
    """Read what is committed. Nothing is read from a ConfigMap that was edited by hand: the volume has the truth, and a Job reads it again."""
    if config_map is None:
        return ()
    text = (config_map.get("data") or {}).get(VERSIONS_KEY, "")
    annotations = config_map["metadata"].get("annotations") or {}
    if annotations.get(_ANNOTATION_CONTENT) != content_hash(text):
        return ()
    try:
        records = [parse_report(json.dumps(report)) for report in json.loads(text)["versions"].values()]
    except (ValueError, KeyError, AttributeError):
        return ()
    return tuple(r for r in records if isinstance(r, VersionRecord))
