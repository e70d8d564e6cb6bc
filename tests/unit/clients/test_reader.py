"""Reading for a person: from an API server's answers, and from kubeconfigs, to what that person can do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from aiohttp import web

from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.clients.reader import AbsentError, Context, Reader, ReadError, ReadForbiddenError, find_context
from clipmodel_operator.models.resources import CLIP_MODELS, PODS
from support.http_server import FakeServer, refuse, reply


@pytest.fixture
def reader(cluster: Cluster) -> Reader:
    return Reader(cluster, "demo")


async def test_an_object_that_is_not_there_is_none(reader: Reader, server: FakeServer) -> None:
    server.answer(refuse(404, 'clipmodels.clipmodel.dev "x" not found'))
    assert await reader.get(CLIP_MODELS, "demo", "x") is None


async def test_a_kind_that_is_not_known_says_so(reader: Reader, server: FakeServer) -> None:
    async def not_found(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="404 page not found")

    server.answer(not_found)
    with pytest.raises(AbsentError, match="does not know the kind ClipModel"):
        await reader.list(CLIP_MODELS, "demo")


async def test_a_missing_right_is_named(reader: Reader, server: FakeServer) -> None:
    server.answer(refuse(403, 'pods is forbidden: User "ada" cannot list resource "pods"'))
    with pytest.raises(ReadForbiddenError, match=r'User "ada" cannot list resource "pods".* role `view`'):
        await reader.list(PODS, "demo")


async def test_a_pod_that_refuses_is_no_missing_right(reader: Reader, server: FakeServer) -> None:
    server.answer(reply({"error": "This API is restricted"}, 403))
    with pytest.raises(ReadError, match=r"HTTP 403: .*This API is restricted") as raised:
        await reader.ask_pod("demo", "pod", 8000, "/v2/repository/index")
    assert not isinstance(raised.value, ReadForbiddenError)


async def test_a_user_that_is_not_known_logs_in_again(reader: Reader, server: FakeServer) -> None:
    server.answer(refuse(401, "Unauthorized"))
    with pytest.raises(ReadError, match="log in again"):
        await reader.list(PODS, "demo")


async def test_another_answer_is_passed_on(reader: Reader, server: FakeServer) -> None:
    server.answer(refuse(500, "etcd is sad"))
    with pytest.raises(ReadError, match="HTTP 500: etcd is sad"):
        await reader.get(CLIP_MODELS, "demo", "x")


async def test_a_cluster_that_is_not_there(reader: Reader) -> None:
    reader.cluster.api.configuration.host = "http://127.0.0.1:9"  # the port that discards
    with pytest.raises(ReadError, match=r"http://127.0.0.1:9 does not answer: .*--context"):
        await reader.list(PODS, "demo")


async def test_lists_come_in_pages_and_say_what_they_are(reader: Reader, server: FakeServer) -> None:
    server.answer(
        reply({"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "more"}}),
        reply({"items": [{"metadata": {"name": "b"}}], "metadata": {}}),
    )
    found = await reader.list(PODS, None, labels="a=b", fields="c=d")
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("Pod", "a"), ("Pod", "b")]
    assert server.seen[0].path == "/api/v1/pods"
    assert server.seen[0].query == {"limit": "500", "labelSelector": "a=b", "fieldSelector": "c=d"}
    assert server.seen[1].query["continue"] == "more"


async def test_logs_and_pods_are_asked_at_their_paths(reader: Reader, server: FakeServer) -> None:
    async def line(_: web.Request) -> web.StreamResponse:
        return web.Response(text="fetching \xb5\n")

    server.answer(line)
    assert await reader.log("demo", "pod", lines=1) == "fetching \xb5\n"
    await reader.ask_pod("demo", "pod", 8000, "/v2/models/clip/stats")
    assert [(s.method, s.path) for s in server.seen] == [
        ("GET", "/api/v1/namespaces/demo/pods/pod/log"),
        ("GET", "/api/v1/namespaces/demo/pods/pod:8000/proxy/v2/models/clip/stats"),
    ]


def write(path: Path, *contexts: dict[str, object], current: str | None = "one") -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [
            {"name": n, "context": {"cluster": "c", "user": "u", **c}}
            for n, c in zip(("one", "two"), contexts, strict=False)
        ],
        **({"current-context": current} if current else {}),
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_the_context_says_the_namespace(tmp_path: Path) -> None:
    file = write(tmp_path / "config", {"namespace": "demo"}, {})
    assert find_context(file, None) == Context("one", "demo")
    assert find_context(file, "two") == Context("two", "default")


def test_a_context_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="there is no context three; there are: one, two"):
        find_context(write(tmp_path / "config", {}, {}), "three")


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{", "kind: Config"], ids=["no file", "empty", "a list", "no YAML", "no context"]
)
def test_no_kubeconfig_says_how_to_give_one(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ReadError, match="Set KUBECONFIG, or give --kubeconfig"):
        find_context(str(file), None)
