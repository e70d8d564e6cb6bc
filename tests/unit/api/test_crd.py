"""The CRD: what is checked in is what the models say; it is small enough, bounded everywhere, and knows every field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from clipmodel_operator.api.v1alpha1.crd import render_crd
from clipmodel_operator.models.reasons import READY
from support.builders import build_spec

ROOT = Path(__file__).resolve().parents[3]
CHECKED_IN = ROOT / "crds/clipmodel.dev_clipmodels.yaml"
Schema = dict[str, Any]


def schema() -> Schema:
    found: Schema = render_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def walk(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from walk(node[name], f"{path}[]")


def test_what_is_checked_in_is_what_the_models_say() -> None:
    assert yaml.safe_load(CHECKED_IN.read_text("utf-8")) == render_crd(), "stale: make crds"


def test_it_can_be_applied_from_the_client_too() -> None:
    assert len(CHECKED_IN.read_bytes()) < 262_144


def test_all_that_users_write_is_bounded() -> None:
    unbounded = []
    for path, node in walk(schema()["properties"]["spec"], "spec"):
        is_text = node.get("type") == "string"
        if is_text and "maxLength" not in node and "enum" not in node:
            unbounded.append(path)
        if node.get("type") == "array" and "maxItems" not in node:
            unbounded.append(path)
        if isinstance(node.get("additionalProperties"), dict) and "maxProperties" not in node:
            unbounded.append(path)
        if node.get("type") == "integer" and ("minimum" not in node or "maximum" not in node):
            unbounded.append(path)
        if node.get("x-kubernetes-int-or-string") and ("pattern" not in node or "maxLength" not in node):
            unbounded.append(path)
    assert unbounded == [], "CEL cost is counted from these bounds"


def test_status_is_bounded_in_what_grows_with_pods_and_tries() -> None:
    """It is written at every change, and read by every watch."""
    status = schema()["properties"]["status"]["properties"]
    for name in ("rollout", "pods"):
        for path, node in walk(status[name], f"status.{name}"):
            assert node.get("type") != "string" or "maxLength" in node or "enum" in node, path
            assert node.get("type") != "integer" or "maximum" in node, path
    assert status["pods"]["maxItems"] == 32
    assert status["pods"]["x-kubernetes-list-map-keys"] == ["name"]


def test_it_is_structural() -> None:
    for path, node in walk(schema(), ""):
        assert not {"$ref", "$defs", "title", "oneOf", "allOf"} & node.keys(), path
        assert node.get("x-kubernetes-int-or-string") or "type" in node, path
        if "properties" in node:
            assert not isinstance(node.get("additionalProperties"), bool), path


def test_every_field_tells_users_what_it_is() -> None:
    silent = [
        p
        for p, n in walk(schema(), "")
        if p.count(".") >= 2 and not p.endswith("[]") and len(n.get("description", "")) < 10
    ]
    assert silent == []


def test_it_admits_the_smallest_spec_and_needs_no_more() -> None:
    spec = schema()["properties"]["spec"]
    assert set(spec["required"]) == {"profile", "versions"}
    assert set(build_spec()) == {"profile", "versions"}
    assert spec["properties"]["versions"]["items"]["properties"]["source"]["required"] == ["uri", "sha256"]


def test_every_rule_says_what_to_do() -> None:
    rules = [r for _, n in walk(schema(), "") for r in n.get("x-kubernetes-validations", ())]
    assert len(rules) >= 7
    for rule in rules:
        assert rule["rule"]
        assert len(rule["message"]) > 30


def test_status_before_anybody_looked() -> None:
    assert schema()["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_subresources_and_columns_point_at_fields_that_exist() -> None:
    version = render_crd()["spec"]["versions"][0]
    assert version["subresources"]["status"] == {}
    paths = {p for p, _ in walk(schema(), "")}
    for path in version["subresources"]["scale"].values():
        assert path in paths
    columns = [c["jsonPath"] for c in version["additionalPrinterColumns"]]
    assert f'.status.conditions[?(@.type=="{READY}")].status' in columns
    assert all(c in paths or "conditions" in c or c == ".metadata.creationTimestamp" for c in columns)
    assert all(f["jsonPath"] in paths for f in version["selectableFields"])
    # Only with -o wide, and before the message, which is long.
    wide = [c["name"] for c in version["additionalPrinterColumns"] if c.get("priority")]
    assert wide == ["Proven", "Target", "Phase", "Reason", "Message"]
    assert render_crd()["spec"]["names"]["shortNames"] == ["clip"]
