"""The ledger as ConfigMaps: which revision a starting pod reads, which are proven, and the records of all versions.

It is the commit: what a restarted pod reads is what was proven. NAME-config holds the ledger itself, and the files of the first slot; NAME-config-b
holds the files of the second slot, which only `rollout.strategy: Replace` uses. A slot is what a pod template names: pods of another slot start with
another revision. Both profiles' configs are always there, so that a change between them finds the old pods' config as long as one of them may restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clipmodel_contract.golden import MIN_COSINE
from clipmodel_contract.proofs import render_proofs
from clipmodel_contract.report import ReportError, VersionRecord, parse_report
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES
from clipmodel_operator.models import names
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.spaces import read_spaces
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_pbtxt import write_config_pbtxt
from clipmodel_operator.rendering.package_files import STARTUP_PROBE
from clipmodel_operator.rendering.read_pbtxt import ConfigTextError, read_config_pbtxt
from clipmodel_operator.rendering.revision import (
    RevisionError,
    build_revision,
    check_configs,
    read_revision,
    revision_to_json,
)

VERSIONS_KEY = "versions.json"
RECORDS_KEY = "records.json"
REVISIONS_KEY = "revisions.json"
PROBE_KEY = "probe.py"
_ANNOTATION_CONTENT = f"{names.GROUP}/content-hash"
_READ_BACK = (VERSIONS_KEY, RECORDS_KEY, REVISIONS_KEY)

Manifest = dict[str, Any]


def config_key(profile: str) -> str:
    return f"{profile}.pbtxt"


#: What pods mount, of either slot.
MOUNTED_KEYS = (*(config_key(p.value) for p in SERVED_PROFILES), VERSIONS_KEY, PROBE_KEY)


def render_config_map(
    model: ClipModel, ledger: Ledger, *, first: Revision | None = None, parked: Mapping[str, str] | None = None
) -> Manifest:
    """Render the ledger, which has a revision to start with, and the files of the first slot.

    `first`: what new pods of the first slot are to start with, where that is not the ledger's. `parked`: the files that the first slot has, where the
    ledger's slot is the second: they stay until no pod reads them.
    """
    if ledger.boot is None:
        raise ValueError("a ledger without a revision has nothing that a pod could start with")
    boot = first or ledger.boot
    shown = _render_proofs(model, ledger, boot)
    mounted = _render_mounted(boot, shown)
    records = {
        "versions": {str(r.version): _without_golden(r, shown["golden"]) for r in ledger.records},
        "spaces": [s.to_json() for s in ledger.spaces],
    }
    revisions = {
        "boot": ledger.boot.id,
        "proven": ledger.proven.id if ledger.proven else None,
        "previous": ledger.previous.id if ledger.previous else None,
        "slot": ledger.slot,
        "revisions": [revision_to_json(r) for r in ledger.revisions],
    }
    data = {
        **mounted,
        **(_configs(parked or {}) if ledger.slot and first is None else {}),
        RECORDS_KEY: json.dumps(records, indent=1, sort_keys=True),
        REVISIONS_KEY: json.dumps(revisions, indent=1, sort_keys=True),
    }
    return _config_map(model, "", data, {_ANNOTATION_CONTENT: _content_hash(data)})


def render_slot(model: ClipModel, ledger: Ledger, slot: str, boot: Revision) -> Manifest:
    """Render the files of a slot whose pods start with `boot`."""
    return _config_map(model, slot, _render_mounted(boot, _render_proofs(model, ledger, boot)), {})


def _config_map(model: ClipModel, slot: str, data: Mapping[str, str], annotations: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.config_map_name(model.key.name, slot=slot),
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            # Of what is read back alone: it must be what was written.
            **({"annotations": dict(annotations)} if annotations else {}),
            "ownerReferences": [model.owner_reference],
        },
        "data": dict(data),
    }


def _render_proofs(model: ClipModel, ledger: Ledger, boot: Revision) -> dict[str, Any]:
    """Render the proofs of what a pod may run: of all known revisions, for the volumes of configs and of proofs refresh apart."""
    vectors = {r.sha256: r.vectors for r in ledger.records}
    proofs: dict[str, tuple[float, Mapping[int, str]]] = {}
    for revision in (boot, ledger.proven, ledger.previous):
        if revision is not None and all(d in vectors for d in revision.digests.values()):
            for config_id in revision.config_ids.values():
                proofs.setdefault(config_id, (revision.min_cosine, revision.digests))
    return render_proofs(model=model.model_name, tensors=model.tensors, proofs=proofs, vectors=vectors)


def _render_mounted(boot: Revision, proofs: Mapping[str, Any]) -> dict[str, str]:
    """Render the files that a pod reads: what to load, the proof of it, and the program that compares."""
    texts = {config_key(p): write_config_pbtxt(boot.configs[p], profile=p) for p in sorted(boot.configs)}
    return {**texts, VERSIONS_KEY: json.dumps(proofs, indent=1, sort_keys=True), PROBE_KEY: STARTUP_PROBE}


def mounted_files(config_map: Mapping[str, Any] | None) -> dict[str, str]:
    """Give the files of a slot as they are."""
    data = (config_map or {}).get("data") or {}
    return {key: str(data[key]) for key in MOUNTED_KEYS if key in data}


def _configs(files: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in files.items() if k.endswith(".pbtxt")}


def _without_golden(record: VersionRecord, elsewhere: Mapping[str, Any]) -> dict[str, Any]:
    told = record.to_json()
    return {k: v for k, v in told.items() if k != "golden"} if record.sha256 in elsewhere else told


def _content_hash(data: Mapping[str, Any]) -> str:
    return content_hash([data.get(key) for key in _READ_BACK if key in data])


def read_ledger(config_map: Mapping[str, Any] | None) -> Ledger:
    """Read what is committed. Nothing is read from a ConfigMap that was edited by hand: the volume has the truth, and a Job reads it again."""
    if config_map is None:
        return Ledger()
    data, annotations = config_map.get("data") or {}, config_map["metadata"].get("annotations") or {}
    if annotations.get(_ANNOTATION_CONTENT) != _content_hash(data):
        return Ledger()
    try:
        known = json.loads(data[RECORDS_KEY])
        shown = json.loads(data[VERSIONS_KEY])
        records = _read_records(known["versions"], shown.get("golden") or {})
        spaces = read_spaces(known["spaces"])
        if REVISIONS_KEY not in data:
            return Ledger(*_adopt(data, shown, records), None, "", records, spaces)
        stored = json.loads(data[REVISIONS_KEY])
        revisions = {r.id: r for r in map(read_revision, stored["revisions"])}
        boot, proven, previous = (revisions[i] if (i := stored[k]) else None for k in ("boot", "proven", "previous"))
        return Ledger(boot, proven, previous, str(stored["slot"]), records, spaces)
    except (ValueError, KeyError, AttributeError, TypeError):
        return Ledger()


def is_without_revisions(config_map: Mapping[str, Any] | None) -> bool:
    """Tell whether a release wrote it that knew of no revisions."""
    return config_map is not None and REVISIONS_KEY not in (config_map.get("data") or {})


def _read_records(stored: Mapping[str, Any], golden: Mapping[str, Any]) -> tuple[VersionRecord, ...]:
    reports = [{"golden": golden.get(r["sha256"]), **r} for r in stored.values()]
    records = [parse_report(json.dumps(report)) for report in reports]
    if not all(isinstance(r, VersionRecord) for r in records):
        raise ReportError("a record that is a failure")
    return tuple(sorted((r for r in records if isinstance(r, VersionRecord)), key=lambda r: r.version))


def _adopt(
    data: Mapping[str, Any], shown: Mapping[str, Any], records: Sequence[VersionRecord]
) -> tuple[Revision | None, Revision | None]:
    """Read the one revision of a release that knew of no others, from its own texts: the spec may say something else by now.

    That release committed a stricter tolerance without asking any pod; what serves is not to be withdrawn for it. It counts as an edit, which is
    verified.
    """
    versions = sorted(int(v) for v in shown["versions"])
    digests = {r.version: r.sha256 for r in records if r.version in versions}
    configs = {}
    for profile in SERVED_PROFILES:
        try:
            config = read_config_pbtxt(str(data.get(config_key(profile.value))))
            check_configs({profile.value: config}, versions)
        except (ConfigTextError, RevisionError):
            continue
        configs[profile.value] = config
    if not configs or sorted(digests) != versions:
        return None, None
    adopted = build_revision(configs, digests, min_cosine=min(float(shown["minCosine"]), MIN_COSINE))
    return adopted, adopted
