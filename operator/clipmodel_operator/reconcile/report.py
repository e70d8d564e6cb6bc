"""Say what is: status once per pass and only if it differs, then the events of the change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.assessment.events import plan_events
from clipmodel_operator.models import names, reasons
from clipmodel_operator.models.event import Event
from clipmodel_operator.models.resources import CLIP_MODELS, EVENTS, Resource
from clipmodel_operator.reconcile.memory import ModelMemory
from clipmodel_operator.rendering.event import render_event


class StatusStore(Protocol):
    """The part of the Kubernetes API that tells."""

    async def apply_status(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]: ...
    async def create_object(
        self, resource: Resource, namespace: str, manifest: Mapping[str, Any]
    ) -> dict[str, Any] | None: ...


async def write_status(
    store: StatusStore,
    obj: Mapping[str, Any],
    status: ClipModelStatus,
    *,
    memory: ModelMemory,
    previous: ClipModelStatus,
    resource_version: str,
    now: datetime,
) -> dict[str, Any] | None:
    """Write the status if it differs from what the object has, then tell the events. Gives the object as written; None where nothing was.

    `resource_version` is the latest that is known of this very object. Raises ConflictError where it is past: the one that is there may be a successor.
    """
    content = status.to_manifest()
    if content == own_part(obj.get("status") or {}):
        return None
    metadata = obj["metadata"]
    manifest = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        # Not the uid: an apply of a custom resource's status is accepted whatever uid it names (Kubernetes 1.34).
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "resourceVersion": resource_version,
        },
        "status": content,
    }
    # Before it is sent: the event may come before the answer.
    memory.told = content
    written = await store.apply_status(CLIP_MODELS, metadata["namespace"], manifest)
    for event in plan_events(previous, status):
        await write_event(store, obj, event, now=now)
    return written


async def write_event(store: StatusStore, obj: Mapping[str, Any], event: Event, *, now: datetime) -> None:
    await store.create_object(EVENTS, obj["metadata"]["namespace"], render_event(obj, event, now=now))


def own_part(status: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out conditions of others: server-side apply keeps them whatever we write, so they are no difference."""
    conditions = [c for c in status.get("conditions") or () if c.get("type") in reasons.CONDITION_TYPES]
    return {**status, **({"conditions": conditions} if "conditions" in status else {})}
