"""Which profile a ClipModel runs with: what it says, or, for `auto`, what was chosen once and then stays.

A choice that followed the cluster would restart a running model whenever a node with a GPU comes or goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES, Profile
from clipmodel_operator.models import names
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.quantity import parse_quantity


def known_profile(model: ClipModel, observed: Observed) -> Profile | None:
    """Give the profile without asking for nodes: the spec's own, the one that runs, or the one that status recorded. None where it must be chosen."""
    if model.spec.profile in SERVED_PROFILES:
        return model.spec.profile
    template = ((observed.deployment or {}).get("spec") or {}).get("template") or {}
    running = ((template.get("metadata") or {}).get("annotations") or {}).get(names.ANNOTATION_PROFILE)
    if running in {p.value for p in SERVED_PROFILES}:
        return Profile(running)
    recorded = model.status.profile
    return recorded if recorded in SERVED_PROFILES else None


def choose_profile(nodes: Sequence[Mapping[str, Any]], *, resource: str) -> Profile:
    """Choose gpu where a node that takes pods offers the resource, busy or not; else cpu."""

    def offers(node: Mapping[str, Any]) -> bool:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        is_open = not (node.get("spec") or {}).get("unschedulable")
        return is_open and parse_quantity(allocatable.get(resource, "0")) > 0

    return Profile.GPU if any(offers(n) for n in nodes) else Profile.CPU


def with_profile(model: ClipModel, profile: Profile) -> ClipModel:
    """Put the profile in place of `auto`."""
    return replace(model, spec=model.spec.model_copy(update={"profile": profile}))
