"""The border to Kubernetes: what an API server may answer, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from kubernetes.aio import client

from clipmodel_operator.clients import cluster as module
from clipmodel_operator.clients.cluster import Cluster, ConfigurationError, build_client, connect
from clipmodel_operator.models.errors import (
    ClipModelError,
    ConflictError,
    GoneError,
    RejectedError,
    RetryError,
)
from clipmodel_operator.models.resources import CLIP_MODELS, CONFIG_MAPS, DEPLOYMENTS, JOBS, PODS, Resource
from support.http_server import FakeServer, cut, hang_up, raw, refuse, reply

MANIFEST: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}}

ANSWERS = {
    "not found": (refuse(404, 'configmaps "x" not found'), GoneError, 'configmaps "x" not found'),
    "gone": (refuse(410, "The provided continue parameter is too old"), GoneError, "too old"),
    "bad request": (refuse(400, "cannot be handled as a ConfigMap"), RejectedError, "cannot be handled"),
    "invalid": (refuse(422, "spec.selector: Invalid value: field is immutable"), RejectedError, "field is immutable"),
    "conflict": (refuse(409, "Operation cannot be fulfilled: the object has been modified"), ConflictError, "has been modified"),
    "too many requests": (refuse(429, "too many requests"), RetryError, "too many requests"),
    "error": (refuse(500, "etcdserver: leader changed"), RetryError, "leader changed"),
    "unavailable": (raw(b"no healthy upstream", 503), RetryError, "no healthy upstream"),
    "without a word": (raw(b"", 502), RetryError, "502"),
    "JSON that is no Status": (raw(b"[1]", 500), RetryError, "[1]"),
    "cut off": (cut, RetryError, "does not answer"),
    "hung up": (hang_up, RetryError, "does not answer"),
    "a proxy's page with status 200": (raw(b"<html>log in</html>"), RetryError, "cannot be read"),
    "half a JSON": (raw(b'{"kind": "Conf'), RetryError, "cannot be read"),
    "bytes that are no text": (raw(b"\xff\xfe\xfa"), RetryError, "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_becomes_of_an_answer(server: FakeServer, cluster: Cluster, name: str) -> None:
    answer, kind, said = ANSWERS[name]
    server.answer(answer)
    with pytest.raises(ClipModelError) as raised:
        await cluster.apply_object(CONFIG_MAPS, "demo", MANIFEST)
    assert type(raised.value) is kind
    assert said in str(raised.value)
    assert "/api/v1/namespaces/demo/configmaps/x" in str(raised.value), "which request it was"
    assert "secret-token" not in str(raised.value)
    assert len(str(raised.value)) < 700


LONG = (
    "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    ".nodeSelectorTerms[0].matchFields[0].key"
)


@pytest.mark.parametrize(
    ("field", "shown"),
    [("spec.ports[0].port", "spec.ports[0].port"), (LONG, "….nodeSelectorTerms[0].matchFields[0].key")],
)
async def test_a_refused_field_is_named_before_there_is_no_room_left(
    server: FakeServer, cluster: Cluster, field: str, shown: str
) -> None:
    causes = [{"reason": "FieldValueInvalid", "field": field, "message": "Invalid value: 1: not valid"}]
    body = {"kind": "Status", "message": "x " * 300, "details": {"causes": causes}}
    server.answer(reply(body, 422))
    with pytest.raises(RejectedError) as raised:
        await cluster.apply_object(CONFIG_MAPS, "demo", MANIFEST)
    assert str(raised.value) == f"{shown}: Invalid value: 1: not valid"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"Retry-After": "7"}, 7.0), ({"retry-after": "7"}, 7.0), ({"Retry-After": "tomorrow"}, None), ({}, None)],
)
async def test_retry_after_is_honoured(
    server: FakeServer, cluster: Cluster, headers: dict[str, str], wait: float | None
) -> None:
    server.answer(refuse(429, "slow down", headers=headers))
    with pytest.raises(RetryError) as raised:
        await cluster.apply_object(CONFIG_MAPS, "demo", MANIFEST)
    assert raised.value.retry_after_s == wait


async def test_a_slow_body_ends(server: FakeServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.Event().wait()
        return response

    server.answer(slow)
    with pytest.raises(RetryError, match="does not answer"):
        await cluster.get_object(CONFIG_MAPS, "demo", "x")


async def test_a_proxy_of_the_environment_is_asked(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    configuration = client.Configuration()
    configuration.host = "http://api.example.invalid"
    cluster = Cluster(build_client(configuration))
    try:
        server.answer(reply({"kind": "ConfigMap"}))
        assert await cluster.get_object(CONFIG_MAPS, "demo", "x") == {"kind": "ConfigMap"}
    finally:
        await cluster.close()
    assert server.seen[0].headers["Host"] == "api.example.invalid"


async def test_without_a_proxy_no_thread_looks_for_one(
    server: FakeServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads for each request were a tenth of the operator's processor time."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    cluster = Cluster(build_client(cluster.api.configuration))
    asked = Mock(side_effect=asyncio.get_running_loop().run_in_executor)
    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", asked)
    try:
        await cluster.get_object(CONFIG_MAPS, "demo", "x")
    finally:
        await cluster.close()
    assert server.seen
    asked.assert_not_called()


async def test_nobody_listens(server: FakeServer, cluster: Cluster) -> None:
    cluster.api.configuration.host = "http://127.0.0.1:1"
    with pytest.raises(RetryError, match="does not answer"):
        await cluster.get_object(CONFIG_MAPS, "demo", "x")
    assert server.seen == []


async def test_apply(server: FakeServer, cluster: Cluster) -> None:
    server.answer(reply({"metadata": {"resourceVersion": "5"}}))
    assert await cluster.apply_object(CONFIG_MAPS, "demo", MANIFEST) == {"metadata": {"resourceVersion": "5"}}
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("PATCH", "/api/v1/namespaces/demo/configmaps/x")
    assert seen.query == {"fieldManager": "clipmodel-operator", "force": "true"}
    assert seen.content_type == "application/apply-patch+yaml"
    assert json.loads(seen.body) == MANIFEST
    assert seen.headers["Authorization"] == "Bearer secret-token"


async def test_a_new_object_is_applied_at_a_resource_version_that_none_has(
    server: FakeServer, cluster: Cluster
) -> None:
    server.answer(reply({"metadata": {"resourceVersion": "5"}}))
    assert await cluster.apply_new_object(CONFIG_MAPS, "demo", MANIFEST) == {"metadata": {"resourceVersion": "5"}}
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("PATCH", "/api/v1/namespaces/demo/configmaps/x")
    assert seen.query == {"fieldManager": "clipmodel-operator", "force": "true"}
    assert json.loads(seen.body) == {**MANIFEST, "metadata": {"name": "x", "resourceVersion": "1"}}
    assert MANIFEST["metadata"] == {"name": "x"}


async def test_where_an_object_is_no_new_one_is_applied(server: FakeServer, cluster: Cluster) -> None:
    server.answer(refuse(409, "Operation cannot be fulfilled: the object has been modified"))
    assert await cluster.apply_new_object(CONFIG_MAPS, "demo", MANIFEST) is None


async def test_another_failure_is_not_taken_for_an_object_that_is_there(server: FakeServer, cluster: Cluster) -> None:
    server.answer(refuse(500, "etcdserver: leader changed"))
    with pytest.raises(RetryError, match="leader changed"):
        await cluster.apply_new_object(CONFIG_MAPS, "demo", MANIFEST)


async def test_status_is_applied_to_its_subresource(server: FakeServer, cluster: Cluster) -> None:
    await cluster.apply_status(CLIP_MODELS, "demo", {"metadata": {"name": "clip"}, "status": {}})
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("PATCH", "/apis/clipmodel.dev/v1alpha1/namespaces/demo/clipmodels/clip/status")
    assert seen.content_type == "application/apply-patch+yaml"
    assert set(json.loads(seen.body)) == {"metadata", "status"}


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (DEPLOYMENTS, "/apis/apps/v1/namespaces/demo/deployments/x"),
        (JOBS, "/apis/batch/v1/namespaces/demo/jobs/x"),
        (PODS, "/api/v1/namespaces/demo/pods/x"),
    ],
)
async def test_get(server: FakeServer, cluster: Cluster, resource: Resource, path: str) -> None:
    server.answer(reply({"kind": resource.kind}), refuse(404, "not found"))
    assert await cluster.get_object(resource, "demo", "x") == {"kind": resource.kind}
    assert await cluster.get_object(resource, "demo", "x") is None
    assert [s.path for s in server.seen] == [path] * 2


async def test_create(server: FakeServer, cluster: Cluster) -> None:
    server.answer(
        reply({"a": 1}, 201),
        refuse(409, "a name is enough for one", reason="AlreadyExists"),
        refuse(409, "already exists, says somebody else", reason=""),
    )
    assert await cluster.create_object(CONFIG_MAPS, "demo", MANIFEST) == {"a": 1}
    assert await cluster.create_object(CONFIG_MAPS, "demo", MANIFEST) is None
    with pytest.raises(RetryError):
        await cluster.create_object(CONFIG_MAPS, "demo", MANIFEST)
    assert (server.seen[0].method, server.seen[0].path) == ("POST", "/api/v1/namespaces/demo/configmaps")
    assert server.seen[0].content_type == "application/json"


async def test_delete_is_of_one_uid(server: FakeServer, cluster: Cluster) -> None:
    server.answer(
        reply({}), refuse(404, "not found"),
        refuse(409, "the UID in the precondition (u) does not match the UID in record (v)", reason="Conflict"),
        refuse(409, "Precondition failed, says somebody else", reason=""),
    )  # fmt: skip
    for _ in range(3):
        await cluster.delete_object(JOBS, "demo", "x", uid="u")
    with pytest.raises(RetryError):
        await cluster.delete_object(JOBS, "demo", "x", uid="u")
    seen = server.seen[0]
    assert seen.method == "DELETE"
    assert json.loads(seen.body) == {"propagationPolicy": "Background", "preconditions": {"uid": "u"}}


async def test_a_list_is_read_page_by_page(server: FakeServer, cluster: Cluster) -> None:
    server.answer(
        reply({"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        reply({"metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    )
    found = await cluster.list_objects(CLIP_MODELS, label_selector="a=b")
    assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in found] == [
        ("ClipModel", "clipmodel.dev/v1alpha1", "a"),
        ("ClipModel", "clipmodel.dev/v1alpha1", "b"),
    ]
    assert [s.query for s in server.seen] == [
        {"limit": "500", "labelSelector": "a=b"},
        {"limit": "500", "labelSelector": "a=b", "continue": "next"},
    ]
    assert server.seen[0].path == "/apis/clipmodel.dev/v1alpha1/clipmodels"


async def test_a_list_of_a_namespace(server: FakeServer, cluster: Cluster) -> None:
    server.answer(reply({"metadata": {}, "items": []}))
    assert await cluster.list_objects(PODS, namespace="demo") == []
    assert server.seen[0].path == "/api/v1/namespaces/demo/pods"
    assert server.seen[0].query == {"limit": "500"}


async def test_a_list_that_expired_between_its_pages_is_an_error_of_ours(server: FakeServer, cluster: Cluster) -> None:
    server.answer(reply({"metadata": {"continue": "next"}, "items": []}), refuse(410, "too old"))
    with pytest.raises(GoneError):
        await cluster.list_objects(PODS)


async def test_without_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="Set KUBECONFIG"):
        await connect(kubeconfig=str(tmp_path / "none"))
