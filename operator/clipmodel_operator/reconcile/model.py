"""Read the ClipModel that a pass is about: its spec, and for profile auto what is decided of it. planning/profile.py decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.models.errors import ForbiddenError
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.resources import NODES, Resource
from clipmodel_operator.planning.profile import choose_profile, known_profile, with_profile
from clipmodel_operator.rendering.pods import gpu_resources


class NodeStore(Protocol):
    """The part of the Kubernetes API that lists nodes."""

    async def list_objects(self, resource: Resource) -> list[dict[str, Any]]: ...


async def read_model(
    store: NodeStore, obj: Mapping[str, Any], observed: Observed, *, status: ClipModelStatus
) -> ClipModel:
    """Read a ClipModel, with a profile in place of `auto`; nodes are asked for only while none is chosen yet.

    Raises StalledError where the spec cannot be read, RetryError where nodes cannot be listed.
    """
    model = parse_clip_model(obj, status=status)
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
