"""Watches by kopf: each event goes into the cache, and its ClipModel's key into the queue.

Only `on.event`: it writes nothing to the objects (other kopf handlers keep annotations and finalizers on them), and what it does is too
small to fail. docs/adr/0002 says what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import kopf
from typing_extensions import override

from clipmodel_operator.models.names import MANAGED_SELECTOR
from clipmodel_operator.models.resources import CHILDREN, CLIP_MODELS, Resource


class Sink(Protocol):
    """Where events go."""

    def observe(self, resource: Resource, obj: Mapping[str, Any], *, deleted: bool) -> None:
        """Take in one event."""
        ...


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-handled state: there is nothing of kopf's on the objects, and computing its differences costs most of its time at startup."""

    @override
    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        # Of each event kopf would deep-copy the whole object three times to find differences that nobody asks for: a quarter of the
        # operator's processor time while many ClipModels come up (bench scale, profiled).
        return kopf.BodyEssence()

    @override
    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    @override
    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def watch_settings() -> kopf.OperatorSettings:
    """Give kopf's settings: informers only."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are ours to tell
    settings.peering.standalone = True
    settings.scanning.disabled = (
        True  # resources and namespaces are named: no right to list CRDs or namespaces is needed
    )
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.persistence.diffbase_storage = _NoDiffBase()
    for resource in CHILDREN:
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = MANAGED_SELECTOR
    return settings


def register_watches(sink: Sink) -> kopf.OperatorRegistry:
    """Make a registry whose handlers feed `sink`."""
    registry = kopf.OperatorRegistry()

    # Named, or kopf would try the synchronous client first, which costs 25 MiB.
    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    def watch(resource: Resource) -> None:
        @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)
        async def observe(*, event: Any, **_: Any) -> None:
            sink.observe(resource, event["object"], deleted=event["type"] == "DELETED")

    for resource in (CLIP_MODELS, *CHILDREN):
        watch(resource)
    return registry


async def run_watches(sink: Sink, *, namespaces: tuple[str, ...], liveness: str | None) -> None:
    """Watch until the process is asked to end. No namespaces means all of them."""
    await kopf.operator(
        registry=register_watches(sink),
        settings=watch_settings(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        liveness_endpoint=liveness,
    )
