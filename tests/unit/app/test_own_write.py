"""Which events of a ClipModel are news, and which only tell of the status that we wrote ourselves."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from clipmodel_operator.app.operator import Operator, build_operator
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.resources import CLIP_MODELS
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import NAME, NAMESPACE, UID, Object, build_object
from support.fake_api_server import FakeApiServer
from support.fake_clock import FakeClock
from support.fake_triton import FakeTriton

KEY = Key(NAMESPACE, NAME)
READY = {"type": "Ready", "status": "True", "reason": "Serving"}
TOLD: Object = {"observedGeneration": 1, "conditions": [READY], "servingVersions": [1]}
AUDITED = {"type": "example.com/Audited", "status": "True", "reason": "Audited"}


def build(known: Object, *, told: Object | None) -> Operator:
    """Build an operator that has heard of an object, and has written a status to it."""
    cluster = FakeApiServer(FakeClock())
    operator = build_operator(cluster, FakeTriton(cluster), root_key=b"root", render=RenderSettings())
    operator.cache.put(CLIP_MODELS.kind, known)
    if told is not None:
        operator.reconciler.memory.of(KEY, UID).told = told
    return operator


#: What an event has beside the status that was told -> whether it is news.
EVENTS: dict[str, tuple[Object, Object, bool]] = {
    "our status alone": ({}, {}, False),
    "the resourceVersion moved": ({"resourceVersion": "9"}, {}, False),
    "who manages which field": ({"managedFields": [{"manager": "kubectl"}]}, {}, False),
    "somebody's own condition beside ours": ({}, {"conditions": [READY, AUDITED]}, False),
    "a label was added": ({"labels": {"team": "search"}}, {}, True),
    "an annotation was added": ({"annotations": {"example.com/look": "again"}}, {}, True),
    "the spec is another": ({"generation": 2}, {}, True),
    "it is being deleted": ({"deletionTimestamp": "2026-11-22T12:00:00Z"}, {}, True),
    "a finalizer was added": ({"finalizers": ["example.com/backup"]}, {}, True),
    "it is a successor of the name": ({"uid": "another"}, {}, True),
    "somebody wrote another field of status": ({}, {"servingVersions": [7]}, True),
    "somebody wrote another condition of ours": ({}, {"conditions": [{**READY, "status": "False"}]}, True),
    "somebody took our conditions away": ({}, {"conditions": []}, True),
}  # fmt: skip


def event(metadata: Object, status: Object) -> Object:
    obj = build_object(status={**TOLD, **status})
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


@pytest.mark.parametrize("name", EVENTS)
async def test_what_is_news(name: str) -> None:
    metadata, status, is_news = EVENTS[name]
    operator = build(build_object(), told=TOLD)
    operator.observe(CLIP_MODELS, event(metadata, status), deleted=False)
    assert len(operator.queue) == int(is_news)
    known: Any = operator.cache.get(CLIP_MODELS.kind, NAMESPACE, NAME)
    assert known["status"] == {**TOLD, **status}, "news or not, it is known from then on"


async def test_a_label_that_goes_is_news() -> None:
    known = build_object()
    known["metadata"]["labels"] = {"team": "search"}
    operator = build(known, told=TOLD)
    operator.observe(CLIP_MODELS, event({}, {}), deleted=False)
    assert len(operator.queue) == 1


async def test_an_object_that_was_not_known_is_news_whatever_its_status_says() -> None:
    operator = build(build_object(name="other"), told=TOLD)
    operator.observe(CLIP_MODELS, event({}, {}), deleted=False)
    assert len(operator.queue) == 1


async def test_an_operator_that_has_told_nothing_knows_no_status_as_its_own() -> None:
    operator = build(build_object(), told=None)
    operator.observe(CLIP_MODELS, event({}, {}), deleted=False)
    assert len(operator.queue) == 1


async def test_a_deletion_is_news() -> None:
    operator = build(build_object(), told=TOLD)
    operator.observe(CLIP_MODELS, event({}, {}), deleted=True)
    assert len(operator.queue) == 1


async def test_what_was_told_is_compared_and_not_changed() -> None:
    told, obj = copy.deepcopy(TOLD), event({}, {"conditions": [READY, AUDITED]})
    operator = build(build_object(), told=told)
    operator.observe(CLIP_MODELS, obj, deleted=False)
    assert told == TOLD
    assert obj["status"]["conditions"] == [READY, AUDITED]
