"""Which profile a ClipModel runs with: what it says, or, for `auto`, what was chosen once and then stays.

A choice that followed the cluster would restart a running model whenever a node with a GPU comes or goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from clipmodel_operator.models import names
from clipmodel_operator.models.api import SERVED_PROFILES, Profile
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.models.errors import ForbiddenError
from clipmodel_operator.models.facts import Observed
from clipmodel_operator.models.quantity import parse_quantity
from clipmodel_operator.models.resources import NODES, Resource
from clipmodel_operator.rendering.pods import gpu_resources


class NodeStore(Protocol):
    """The part of the Kubernetes API that lists nodes."""

    async def list_objects(self, resource: Resource) -> list[dict[str, Any]]: ...


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


async def resolve_profile(store: NodeStore, model: ClipModel, observed: Observed) -> ClipModel:
    """Put a profile in place of `auto`; nodes are asked for only while none is chosen yet."""
    profile = known_profile(model, observed)
    if profile is None:
        resource = next(iter(gpu_resources(model)))
        try:
            nodes = await store.list_objects(NODES)
        except ForbiddenError as error:
            # The right is no part of the operator's own role, and the API server's words do not say where to get it.
            raise ForbiddenError(
                "The operator may not list nodes, which profile auto needs: kubectl apply --server-side -k manifests/auto-profile, "
                f"or set spec.profile to cpu or gpu. It looks for a node that offers {resource}."
            ) from error
        profile = choose_profile(nodes, resource=resource)
    return with_profile(model, profile)


def with_profile(model: ClipModel, profile: Profile) -> ClipModel:
    """Put the profile in place of `auto`."""
    return replace(model, spec=model.spec.model_copy(update={"profile": profile}))
