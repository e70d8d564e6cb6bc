"""The border to Triton: what a server may answer, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from clipmodel_contract import golden
from clipmodel_contract.control import CONTROL_HEADER, CONTROL_KEY_VARIABLE
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.clients import triton as module
from clipmodel_operator.clients.triton import TritonClient, open_session
from clipmodel_operator.models.errors import ClipModelError, LoadRefusedError, RejectedError, RetryError
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering import deployment
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import build_model
from support.http_server import Answer, FakeServer, cut, hang_up, raw, reply

SERVER = Server("127.0.0.1", "the-key")
TENSORS = Tensors(image_size=14, dimension=4)
VECTOR = (1.0, 2.0, 3.0, 4.0)


def tensor(vector: tuple[float, ...] = VECTOR) -> Answer:
    data = struct.pack(f"<{len(vector)}f", *vector)
    header = json.dumps({"outputs": [{"name": "embedding", "parameters": {"binary_data_size": len(data)}}]}).encode()
    return raw(header + data, headers={golden.HEADER_LENGTH: str(len(header))})


@pytest.fixture
async def triton(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TritonClient]:
    monkeypatch.setattr(module, "HTTP_PORT", server.port)
    async with open_session() as session:
        yield TritonClient(session)


async def embed(triton: TritonClient) -> tuple[float, ...]:
    return await triton.embed_golden(SERVER, model="clip", version=3, tensors=TENSORS, index=1)


async def test_it_keeps_no_connection_that_a_server_which_ends_would_wait_for(
    server: FakeServer, triton: TritonClient
) -> None:
    server.answer(tensor())
    await embed(triton)
    assert server.seen[0].headers["Connection"] == "close"


async def test_it_sends_the_golden_image_to_that_version(server: FakeServer, triton: TritonClient) -> None:
    server.answer(tensor())
    assert await embed(triton) == VECTOR
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v2/models/clip/versions/3/infer")
    assert seen.body[int(seen.headers[golden.HEADER_LENGTH]) :] == golden.golden_image(1, 14)


ANSWERS: dict[str, tuple[Answer, type[ClipModelError], str]] = {
    "no such model": (reply({"error": "Request for unknown model: 'clip' has no available versions"}, 400), RejectedError, "unknown model"),
    "not found": (reply({"error": "Request for unknown model: 'clip' is not found"}, 404), RejectedError, "is not found"),
    "not loaded, by another code": (reply({"error": "Request for unknown model: 'clip' version 3 is not at ready state"}, 503), RejectedError, "not at ready state"),
    "a config that cannot be read": (reply({"error": "failed to load 'clip', failed to poll from model repository"}, 500), RejectedError, "failed to poll"),
    "a backend whose process is gone": (reply({"error": "Stub process 'clip_3_0' is not healthy."}, 500), RejectedError, "is not healthy"),
    "an error that may pass": (reply({"error": "Internal: out of buffers"}, 500), RetryError, "HTTP 500: Internal: out of buffers"),
    "an error without end": (reply({"error": "x" * 100_000}, 503), RetryError, "HTTP 503: xxx"),
    "busy": (reply({"error": "Exceeds maximum queue size"}, 503), RetryError, "maximum queue size"),
    "restricted": (reply({"error": "This API is restricted"}, 403), RetryError, "restricted"),
    "a page that is no JSON": (raw(b"<html>", 502), RetryError, "<html>"),
    "no tensor": (raw(b"hello"), RetryError, "cannot be read"),
    "a wrong length": (raw(b"{}", headers={golden.HEADER_LENGTH: "many"}), RetryError, "cannot be read"),
    "cut off": (cut, RetryError, "does not answer"),
    "hung up": (hang_up, RetryError, "does not answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_becomes_of_an_answer(server: FakeServer, triton: TritonClient, name: str) -> None:
    answer, kind, said = ANSWERS[name]
    server.answer(answer)
    with pytest.raises(ClipModelError) as raised:
        await embed(triton)
    assert type(raised.value) is kind
    assert said in str(raised.value)
    assert len(str(raised.value)) < 400
    assert "the-key" not in str(raised.value)
    assert "the-key" not in repr(SERVER)


async def test_a_load_always_carries_its_config_and_the_key(server: FakeServer, triton: TritonClient) -> None:
    await triton.load(SERVER, "clip", {"name": "clip"})
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v2/repository/models/clip/load")
    assert json.loads(json.loads(seen.body)["parameters"]["config"]) == {"name": "clip"}
    assert seen.headers[CONTROL_HEADER] == "the-key"
    arguments = deployment._args(build_model(), RenderSettings())
    told = [a for a in arguments if "-restricted-" in a]
    assert len(told) == 2, "of HTTP and of gRPC"
    assert all(a.endswith(f":{CONTROL_HEADER}=$({CONTROL_KEY_VARIABLE})") for a in told), (
        "what Triton is told to ask for"
    )


async def test_a_load_that_fails_says_why(server: FakeServer, triton: TritonClient) -> None:
    server.answer(reply({"error": "failed to load 'clip', no version is available"}, 400))
    with pytest.raises(RejectedError, match="no version is available"):
        await triton.load(SERVER, "clip", {})


#: What Triton answers to a load -> what is said of it, and why each version that it names failed.
REFUSALS: dict[str, tuple[str, int, str, dict[int, str]]] = {
    "one version": (
        "load failed for model 'clip': version 2 is at UNAVAILABLE state: Internal: onnx runtime error 1: too new;\n",
        400,
        "too new",
        {2: "onnx runtime error 1: too new"},
    ),
    "two versions": (
        "load failed for model 'clip': version 2 is at UNAVAILABLE state: one;version 3 is at UNAVAILABLE state: two;\n",
        400,
        "two",
        {2: "one", 3: "two"},
    ),
    "no version": ("failed to load 'clip', failed to poll from model repository", 500, "failed to poll", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_load_that_is_refused_names_versions_and_causes(
    server: FakeServer, triton: TritonClient, name: str
) -> None:
    error, code, said, causes = REFUSALS[name]
    server.answer(reply({"error": error}, code))
    with pytest.raises(LoadRefusedError) as raised:
        await triton.load(SERVER, "clip", {"name": "clip"})
    assert said in str(raised.value)
    assert raised.value.causes == causes


async def test_the_causes_are_read_of_the_whole_answer_and_said_within_bounds(
    server: FakeServer, triton: TritonClient
) -> None:
    """Each version's error may be thousands of characters long; status has room for 240."""
    long = "x" * 5000
    parts = [f"version {n} is at UNAVAILABLE state: {long} {n};" for n in range(1, 65)]
    server.answer(reply({"error": f"load failed for model 'clip': {''.join(parts)}"}, 400))
    with pytest.raises(LoadRefusedError) as raised:
        await triton.load(SERVER, "clip", {"name": "clip"})
    assert set(raised.value.causes) == set(range(1, 65))
    assert len(str(raised.value)) <= 240


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_is_read_as_far_as_anybody_needs_it(
    server: FakeServer, triton: TritonClient, status: int
) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                await response.write(b"x" * (1 << 20))
                sent += 1 << 20
        return response

    server.answer(endless)
    with pytest.raises(RetryError):
        await triton.get_config(SERVER, "clip")
    assert sent < 4 * module._LONGEST_ANSWER, "it hangs up"


async def test_a_list_of_a_repository_may_be_long(server: FakeServer, triton: TritonClient) -> None:
    index = [{"name": f"other-{n}", "version": "1", "state": "READY", "reason": "x" * 1000} for n in range(2000)]
    server.answer(reply([*index, {"name": "clip", "version": "7", "state": "LOADING"}]))
    assert await triton.loaded_versions(SERVER, "clip") == {7}


async def test_configs_and_versions(server: FakeServer, triton: TritonClient) -> None:
    server.answer(reply({"name": "clip"}))
    assert await triton.get_config(SERVER, "clip") == {"name": "clip"}
    index = [
        {"name": "clip", "version": "1", "state": "READY"},
        {"name": "clip", "version": "2", "state": "UNLOADING"},
        {"name": "clip", "version": "3", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "clip"},
        {"name": "other", "version": "4", "state": "READY"},
    ]
    server.answer(reply(index))
    assert await triton.loaded_versions(SERVER, "clip") == {1, 2}
    await triton.unload(SERVER, "clip")
    assert [s.path for s in server.seen] == [
        "/v2/models/clip/config",
        "/v2/repository/index",
        "/v2/repository/models/clip/unload",
    ]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]"])
async def test_a_config_that_is_none(server: FakeServer, triton: TritonClient, body: bytes) -> None:
    server.answer(raw(body))
    with pytest.raises(RetryError, match="cannot be read"):
        await triton.get_config(SERVER, "clip")


async def test_an_address_of_ipv6_is_put_in_brackets(server: FakeServer, triton: TritonClient) -> None:
    with pytest.raises(RetryError, match="does not answer"):
        await triton.get_config(Server("2001:db8::1%invalid", "k"), "clip")
    assert server.seen == []
