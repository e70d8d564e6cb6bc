"""The CustomResourceDefinition, made from the pydantic models of the API, so that the two cannot disagree."""

from __future__ import annotations

from typing import Any

from clipmodel_operator.api.v1alpha1.spec import ClipModelSpec
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.models.names import GROUP, KIND, PLURAL, VERSION

_ROOT_RULES = (
    (
        "self.metadata.name.size() <= 50",
        "metadata.name is at most 50 characters: names of its Service, Jobs and volume are made of it",
    ),
    (
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be a DNS label that starts with a letter and has no dots: the Service has the same name",
    ),
)
_PRINTER_COLUMNS = (
    {"name": "Profile", "type": "string", "jsonPath": ".status.profile", "description": "Where the model runs."},
    {"name": "Serving", "type": "string", "jsonPath": ".status.servingVersions", "description": "The versions that clients get."},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status', "description": "Whether a client gets a right embedding now."},
    {"name": "Replicas", "type": "integer", "jsonPath": ".status.readyReplicas", "description": "Triton pods that passed the golden check."},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Proven", "type": "string", "jsonPath": ".status.rollout.provenRevision", "priority": 1, "description": "The revision that pods have proven last."},
    {"name": "Target", "type": "string", "jsonPath": ".status.rollout.targetRevision", "priority": 1, "description": "The revision that the spec asks for."},
    {"name": "Phase", "type": "string", "jsonPath": ".status.rollout.phase", "priority": 1, "description": "What the attempt to reach the target is doing; empty at rest."},
    {"name": "Reason", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].reason', "priority": 1},
    {"name": "Message", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].message', "priority": 1},
)  # fmt: skip


#: What pydantic says and a structural schema must not.
_DROPPED = frozenset({"title", "$defs", "$ref", "anyOf"})


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Put in place what a reference, or the one alternative to null, stands for: an optional field is left out, never null."""
    if "$ref" in schema:
        return {**_inlined(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions), **schema}
    alternatives = [s for s in schema.get("anyOf", ()) if s.get("type") != "null"]
    if len(alternatives) == 1:
        return {**_inlined(alternatives[0], definitions), **schema}
    # int-or-string keeps its alternatives: _DROPPED is for what has been put in place.
    return {**schema, "x-alternatives": schema["anyOf"]} if alternatives else schema


def _structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Turn pydantic's JSON schema into a structural schema: no references, titles, nulls or closed objects."""
    result: dict[str, Any] = {}
    inlined = _inlined(schema, definitions)
    for key, value in inlined.items():
        if key == "properties":
            required = inlined.get("required", ())
            result[key] = {n: _field(sub, definitions, is_required=n in required) for n, sub in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            result[key] = _structural(value, definitions)
        elif key == "x-alternatives":
            result["anyOf"] = value
        elif key not in _DROPPED and key != "additionalProperties" and not (key == "default" and value is None):
            result[key] = value
    return result


def _field(schema: dict[str, Any], definitions: dict[str, Any], *, is_required: bool) -> dict[str, Any]:
    """Turn a field's schema. An object that is always there gets a default, so that those of its own fields apply, and are seen."""
    result = _structural(schema, definitions)
    is_optional = schema.get("default", ...) is None
    if "properties" in result and not is_required and not is_optional:
        result.setdefault("default", {})
    return _described(result)


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the description on one line, and a field's default at its end: `kubectl explain` shows descriptions, and no defaults."""
    if "description" not in schema:
        return schema
    text, default = " ".join(schema["description"].split()), schema.get("default")
    if isinstance(default, str | int):
        text = f"{text} Default: {str(default).lower() if isinstance(default, bool) else default}."
    return {**schema, "description": text}


def _schema_of(model: type[ClipModelSpec | ClipModelStatus]) -> dict[str, Any]:
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(raw, raw.get("$defs", {}))


def _with_rules(schema: dict[str, Any], rules: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {**schema, "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def render_crd() -> dict[str, Any]:
    """Render the CustomResourceDefinition of ClipModel."""
    spec = _schema_of(ClipModelSpec)
    status = _schema_of(ClipModelStatus)
    status["default"] = {"observedGeneration": -1}
    schema = {
        "description": "A CLIP embedding model served by NVIDIA Triton: the operator fetches and proves its versions, and runs the servers.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "clipmodel",
                "shortNames": ["clip"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _with_rules(schema, _ROOT_RULES)},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.serving.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [dict(column) for column in _PRINTER_COLUMNS],
                    "selectableFields": [{"jsonPath": ".spec.profile"}, {"jsonPath": ".spec.modelName"}],
                }
            ],
        },
    }
