"""The edge: watches and nothing else. No handler of kopf's that writes to an object, no finalizer, no peering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kopf

from clipmodel_operator.app.watches import register_watches, watch_settings
from clipmodel_operator.models.names import MANAGED_SELECTOR
from clipmodel_operator.models.resources import CHILDREN, CLIP_MODELS, SECRETS, Resource

RESOURCES = (CLIP_MODELS, *CHILDREN)


class Sink:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bool]] = []

    def observe(self, resource: Resource, obj: Mapping[str, Any], *, deleted: bool) -> None:
        self.seen.append((resource.kind, obj["metadata"]["name"], deleted))


def handlers(registry: kopf.OperatorRegistry) -> list[Any]:
    return list(registry._watching.get_all_handlers())


def test_each_resource_has_exactly_one_handler_that_only_watches() -> None:
    registry = register_watches(Sink())
    found = [
        (h.selector.group, h.selector.version, h.selector.any_name or h.selector.plural) for h in handlers(registry)
    ]
    assert sorted(found) == sorted((r.group, r.version, r.plural) for r in RESOURCES)
    for kind in ("_indexing", "_spawning", "_changing", "_webhooks"):
        assert list(getattr(registry, kind).get_all_handlers()) == [], (
            f"{kind}: kopf would write, or hold everything in memory twice"
        )


def test_it_knows_how_to_log_in() -> None:
    (login,) = register_watches(Sink())._activities.get_all_handlers()
    assert login.activity is not None
    assert login.activity.value == "authentication"


async def test_events_are_handed_on() -> None:
    sink = Sink()
    for handler in handlers(register_watches(sink)):
        for kind in (None, "ADDED", "MODIFIED", "DELETED"):
            await handler.fn(
                event={"type": kind, "object": {"metadata": {"name": str(kind)}}}, body={}, other="ignored"
            )
    assert [s for s in sink.seen if s[0] == "Job"] == [
        ("Job", "None", False),
        ("Job", "ADDED", False),
        ("Job", "MODIFIED", False),
        ("Job", "DELETED", True),
    ]
    assert len(sink.seen) == 4 * len(RESOURCES)


def test_settings() -> None:
    settings = watch_settings()
    assert settings.peering.standalone
    assert settings.scanning.disabled, "no right to list CRDs or namespaces is needed"
    assert not settings.posting.enabled, "events are ours to tell"
    assert settings.watching.server_timeout
    assert settings.watching.connect_timeout
    assert settings.networking.request_timeout
    assert settings.admission.managed is None
    assert settings.persistence.diffbase_storage.fetch(body=kopf.Body({})) is None


def test_children_are_watched_by_our_label() -> None:
    selectors = watch_settings().watching.label_selectors
    for resource in CHILDREN:
        assert selectors[resource.group, resource.version, resource.plural] == MANAGED_SELECTOR
    assert (CLIP_MODELS.group, CLIP_MODELS.version, CLIP_MODELS.plural) not in selectors


def test_secrets_are_not_watched() -> None:
    assert SECRETS not in RESOURCES


def test_no_object_is_copied_to_look_for_differences() -> None:
    """kopf does so for each event, and it was a quarter of the operator's processor time."""
    body = kopf.Body({"metadata": {"labels": {"a": "b"}}, "spec": {"x": [1]}})
    assert watch_settings().persistence.diffbase_storage.build(body=body) == {}
