"""What all API models are made of: their base, the types that Kubernetes has and Python has not, and rules that the API server evaluates.

A rule says what is wrong in the user's words; where CEL can tell what was given, it says that too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from clipmodel_operator.models.quantity import QUANTITY_PATTERN, SECONDS_PATTERN

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#: Names of most objects: Secrets, PriorityClasses, claims.
DNS_SUBDOMAIN_PATTERN = rf"^{_DNS_LABEL}([.]{_DNS_LABEL})*$"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
#: Keys of labels and taints: an optional DNS prefix, and a name.
LABEL_KEY_PATTERN = rf"^({_DNS_LABEL}([.]{_DNS_LABEL})*/)?{_QUALIFIED}$"
LABEL_KEY_LENGTH = 317
LABEL_VALUE_PATTERN = rf"^({_QUALIFIED})?$"

Quantity = Annotated[
    int | str,
    WithJsonSchema({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": QUANTITY_PATTERN,
        "maxLength": 32,
    }),
]  # fmt: skip
ObjectName = Annotated[str, Field(pattern=DNS_SUBDOMAIN_PATTERN, min_length=1, max_length=253)]
LabelKey = Annotated[str, Field(pattern=LABEL_KEY_PATTERN, min_length=1, max_length=LABEL_KEY_LENGTH)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE_PATTERN, max_length=63)]
#: Whole seconds, minutes or hours.
Period = Annotated[str, Field(pattern=SECONDS_PATTERN, max_length=8)]


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule. `field` is the path, below the object that has the rule, that the error names; `given` is an expression of the message."""

    rule: str
    message: str
    field: str | None = None
    given: str | None = None

    def to_schema(self) -> dict[str, str]:
        found = {"rule": self.rule, "message": self.message}
        if self.field is not None:
            found["fieldPath"] = self.field
        if self.given is not None:
            found["messageExpression"] = self.given
        return found


def rules(*found: Rule) -> dict[str, Any]:
    return {"x-kubernetes-validations": [rule.to_schema() for rule in found]}


def between(field: str, low: str, high: str) -> Rule:
    """Bound a duration, both ends allowed."""
    return Rule(
        f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')",
        f"{field} is a time from {low} to {high}",
        given=f"'{field} is a time from {low} to {high}, not ' + self",
    )


def label_keys(field: str) -> Rule:
    """Check the keys of a map, which a schema cannot."""
    return Rule(
        f"self.all(k, k.matches('{LABEL_KEY_PATTERN}') && k.size() <= {LABEL_KEY_LENGTH})",
        f"{field}: a key is NAME or PREFIX/NAME, of letters, digits, - _ and .",
        given=f"'{field}: %s is no key: write NAME or PREFIX/NAME, of letters, digits, - _ and .'.format(["
        f"self.filter(k, !k.matches('{LABEL_KEY_PATTERN}') || k.size() > {LABEL_KEY_LENGTH})[0]])",
    )


def immutable(parent: str, field: str, advice: str) -> Rule:
    """Refuse to change, add or remove an optional field of the object that has the rule."""
    name = f"{parent}.{field}"
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{name} is immutable: {advice}",
        field=f".{field}",
    )


class Api(BaseModel):
    """Base of everything that users write. Unknown fields are the CRD's to refuse."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    def to_manifest(self) -> dict[str, Any]:
        """Give what was set, as Kubernetes writes it."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")
