"""Ask for nodes where a profile has to be chosen; planning/profile.py chooses."""

from __future__ import annotations

from typing import Any, Protocol

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models.errors import MissingRightError
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.resources import NODES, Resource
from clipmodel_operator.planning.profile import choose_profile, known_profile, with_profile
from clipmodel_operator.rendering.pods import gpu_resources


class NodeStore(Protocol):
    """The part of the Kubernetes API that lists nodes."""

    async def list_objects(self, resource: Resource) -> list[dict[str, Any]]: ...


async def resolve_profile(store: NodeStore, model: ClipModel, observed: Observed) -> ClipModel:
    """Put a profile in place of `auto`; nodes are asked for only while none is chosen yet."""
    profile = known_profile(model, observed)
    if profile is None:
        resource = next(iter(gpu_resources(model)))
        try:
            nodes = await store.list_objects(NODES)
        except MissingRightError as error:
            # The right is no part of the operator's own role, and the API server's words do not say where to get it.
            raise MissingRightError(
                "The operator may not list nodes, which profile auto needs: kubectl apply --server-side -k manifests/auto-profile, "
                f"or set spec.profile to cpu or gpu. It looks for a node that offers {resource}."
            ) from error
        profile = choose_profile(nodes, resource=resource)
    return with_profile(model, profile)
