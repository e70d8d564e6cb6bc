"""What `clipmodel render` and `clipmodel crd` print: the objects of a ClipModel without a cluster."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES, Profile
from clipmodel_operator.assessment.rollout import choose
from clipmodel_operator.models import names
from clipmodel_operator.models.errors import ClipModelError
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.resources import CLAIMS
from clipmodel_operator.planning.expected import plan_expected
from clipmodel_operator.planning.profile import with_profile
from clipmodel_operator.rendering.canonical import without_none
from clipmodel_operator.rendering.config_pbtxt import render_config_pbtxt
from clipmodel_operator.rendering.control_key import render_control_secret
from clipmodel_operator.rendering.settings import RenderSettings

_NO_UID = "00000000-0000-0000-0000-000000000000"
_NO_KEY = "0" * 64


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, so that a config.pbtxt inside a ConfigMap can be read."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]  # repeated parts are written out: people read this


def dump_yaml(obj: object) -> str:
    return yaml.dump(obj, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)


def read_file(file: Path) -> str:
    """Read what `--file` names; - is standard input. Raises ClipModelError where it cannot be read."""
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ClipModelError(
            f"cannot read {file}: {error.strerror}. Name a YAML file with a ClipModel, or - for standard input."
        ) from error


def read_object(text: str) -> dict[str, Any]:
    """Read the one ClipModel in YAML as a user writes it. Raises ClipModelError with what to correct."""
    try:
        documents = [d for d in yaml.safe_load_all(text) if d]
    except yaml.YAMLError as error:
        raise ClipModelError(f"this is not YAML: {error}") from error
    models = [d for d in documents if isinstance(d, dict) and d.get("kind") == names.KIND]
    if len(models) != 1:
        raise ClipModelError(
            f"found {len(models)} objects of kind ClipModel, expected one: apiVersion: {names.API_VERSION}, kind: {names.KIND}"
        )
    obj: dict[str, Any] = models[0]
    if obj.get("apiVersion") != names.API_VERSION:
        raise ClipModelError(f"apiVersion is {obj.get('apiVersion')!r}, expected {names.API_VERSION}")
    metadata = obj.get("metadata") or {}
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise ClipModelError("metadata.name is missing: give the ClipModel a name")
    return obj


def load_clip_model(text: str) -> ClipModel:
    """Read and parse it, without a cluster: namespace and uid are stood in for."""
    obj = read_object(text)
    metadata = {"namespace": "default", "uid": _NO_UID, "generation": 1, **obj["metadata"]}
    return parse_clip_model({**obj, "metadata": metadata})


def render_objects(model: ClipModel, settings: RenderSettings) -> list[dict[str, Any]]:
    """Render everything that a ClipModel becomes, as if its sync had just succeeded."""
    secret = render_control_secret(model, _NO_KEY)
    expected = plan_expected(
        model, Observed(), settings, secret_name=secret["metadata"]["name"], now=datetime.fromtimestamp(0, UTC)
    )
    claims = [o for o in expected.objects if o["kind"] == CLAIMS.kind]
    config_map, *rest = (o for o in expected.objects if o["kind"] != CLAIMS.kind)
    objects = [*claims, *expected.jobs, config_map, without_none(secret), *rest]
    return [{**o, "metadata": {**o["metadata"], "namespace": model.key.namespace}} for o in objects]


def render_offline(
    text: str, settings: RenderSettings, *, only: str | None = None, profile: Profile | None = None
) -> str:
    """Print what becomes of a ClipModel: all objects as YAML, those of one kind, or `config` alone.

    `profile` stands in for `auto`, which is decided in a cluster.
    """
    model = load_clip_model(text)
    if model.spec.profile not in SERVED_PROFILES:
        if profile not in SERVED_PROFILES:
            raise ClipModelError(
                "profile auto is decided in the cluster: say --profile cpu or --profile gpu to see either"
            )
        model = with_profile(model, profile)
    if only == "config":
        chosen = choose(model.spec.version_policy, [v.version for v in model.spec.versions])
        return render_config_pbtxt(model, versions=chosen)
    objects = [o for o in render_objects(model, settings) if only is None or o["kind"].lower() == only.lower()]
    if not objects:
        kinds = ", ".join(dict.fromkeys(o["kind"] for o in render_objects(model, settings)))
        raise ClipModelError(f"nothing of kind {only} is made of a ClipModel: choose config, {kinds}")
    return "---\n".join(dump_yaml(o) for o in objects)
