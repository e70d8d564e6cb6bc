"""Say what is: status once per pass and only if it differs, then the events of the change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from clipmodel_operator.assessment.events import Event, plan_events
from clipmodel_operator.models import names, reasons
from clipmodel_operator.models.api import ClipModelStatus
from clipmodel_operator.models.clipmodel import ClipModel, parse_status
from clipmodel_operator.models.resources import CLIP_MODELS, EVENTS, Resource
from clipmodel_operator.models.view import Subject
from clipmodel_operator.rendering.service import endpoints


class StatusStore(Protocol):
    """The part of the Kubernetes API that tells."""

    async def apply_status(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]: ...
    async def create_object(
        self, resource: Resource, namespace: str, manifest: Mapping[str, Any]
    ) -> dict[str, Any] | None: ...


def subject_of(obj: Mapping[str, Any], model: ClipModel | None) -> Subject:
    """Describe what the status is of; where the spec cannot be read, as far as it goes."""
    metadata = obj["metadata"]
    return Subject(
        generation=metadata.get("generation", 0),
        name=metadata["name"],
        model_name=model.model_name if model else None,
        profile=model.spec.profile if model else None,
        replicas=model.spec.serving.replicas if model else 1,
        endpoints=endpoints(model) if model else None,
        previous=parse_status(obj),
        is_paused=model.spec.paused if model else False,
    )


def dump_status(status: ClipModelStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, exclude_none=True, mode="json")


async def write_status(
    store: StatusStore, obj: Mapping[str, Any], status: ClipModelStatus, *, resource_version: str, now: datetime
) -> dict[str, Any] | None:
    """Write the status if it differs from what the object has, then tell the events. Gives the object as written; None where nothing was.

    `resource_version` is the latest that is known of this very object. Raises ConflictError where it is past: the one that is there may be a successor.
    """
    content = dump_status(status)
    if content == _ours(obj.get("status") or {}):
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
    written = await store.apply_status(CLIP_MODELS, metadata["namespace"], manifest)
    for event in plan_events(parse_status(obj), status):
        await write_event(store, obj, event, now=now)
    return written


async def write_event(store: StatusStore, obj: Mapping[str, Any], event: Event, *, now: datetime) -> None:
    await store.create_object(EVENTS, obj["metadata"]["namespace"], render_event(obj, event, now=now))


def _ours(status: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out conditions of others: server-side apply keeps them whatever we write, so they are no difference."""
    conditions = [c for c in status.get("conditions") or () if c.get("type") in reasons.CONDITION_TYPES]
    return {**status, **({"conditions": conditions} if "conditions" in status else {})}


def render_event(obj: Mapping[str, Any], event: Event, *, now: datetime) -> dict[str, Any]:
    """Render an event. Its name follows from its content and the object's state, so that a pass that is repeated tells nothing twice."""
    metadata = obj["metadata"]
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    token = f"{metadata['uid']}/{metadata.get('resourceVersion')}/{event.reason}/{event.message}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(token.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion"),
        },
        "type": "Warning" if event.is_warning else "Normal",
        "reason": event.reason,
        "message": event.message,
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
