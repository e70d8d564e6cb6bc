"""Speaking to a server, and saying what went wrong."""

import re
import socket
import threading
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode  # type: ignore[import-untyped]  # its stubs are a package of their own
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipmodel_client.embed import Embedder, Protocol, check_address, cosines, normalise, parse_signature
from clipmodel_client.errors import (
    ClientError,
    EmbeddingError,
    NotFoundError,
    RejectedError,
    RequestTimeoutError,
    UnreachableError,
    UsageError,
)

MODEL, SIZE = "openclip_vit_b32", 32

both = pytest.mark.parametrize("protocol", list(Protocol))


def pictures(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, 3, SIZE, SIZE), dtype=np.float32)


def connect(server: Any, protocol: Protocol, **options: Any) -> Embedder:
    return Embedder(server.addresses[protocol], model=options.pop("model", MODEL), protocol=protocol, **options)


@both
@pytest.mark.parametrize("count", [0, 1, 7, 32])
def test_every_picture_gets_its_own_row(server: Any, protocol: Protocol, count: int) -> None:
    images = pictures(count)
    with connect(server, protocol) as embedder:
        vectors = embedder.embed(images)
    np.testing.assert_allclose(vectors, images.reshape(count, 8, 384).mean(axis=2) * 10 + 0.5, rtol=1e-6)
    assert vectors.dtype == np.float32


@both
def test_requests_hold_at_most_32_images_and_keep_the_order(server: Any, protocol: Protocol) -> None:
    with connect(server, protocol) as embedder:
        vectors = embedder.embed(pictures(70))
        one_by_one = np.concatenate([embedder.embed(pictures(70)[i : i + 1]) for i in (0, 33, 69)])
    assert server.behaviour.batches[:3] == [32, 32, 6]
    np.testing.assert_allclose(vectors[[0, 33, 69]], one_by_one)


def test_a_smaller_batch_is_obeyed_and_a_larger_one_is_not(server: Any) -> None:
    for max_batch, batches in ((4, [4] * 8 + [1]), (1000, [32, 1])):
        server.behaviour.batches.clear()
        with connect(server, Protocol.GRPC, max_batch=max_batch) as embedder:
            embedder.embed(pictures(33))
        assert server.behaviour.batches == batches


@both
def test_an_unknown_model_is_named(server: Any, protocol: Protocol) -> None:
    with (
        connect(server, protocol, model="other") as embedder,
        pytest.raises(NotFoundError, match="no ready model named other"),
    ):
        embedder.embed(pictures(1))


@both
def test_nobody_listening_is_unreachable(protocol: Protocol) -> None:
    with (
        socket.socket() as listener
    ):  # bound and not listening: connections are refused, and nobody else takes the port
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with (
            Embedder(address, model=MODEL, protocol=protocol, timeout_s=5) as embedder,
            pytest.raises(UnreachableError, match=re.escape(address)),
        ):
            embedder.embed(pictures(1))


def test_an_unknown_host_is_unreachable() -> None:
    with (
        Embedder("no-such-host.invalid:8000", model=MODEL, protocol=Protocol.HTTP) as embedder,
        pytest.raises(UnreachableError, match=r"no-such-host\.invalid"),
    ):
        embedder.embed(pictures(1))


@both
def test_an_answer_that_does_not_come_is_a_timeout(server: Any, protocol: Protocol) -> None:
    server.behaviour.block = threading.Event()
    with (
        connect(server, protocol, timeout_s=0.3) as embedder,
        pytest.raises(RequestTimeoutError, match=r"within 0\.3 s"),
    ):
        embedder.embed(pictures(1))


@both
def test_the_servers_batch_limit_becomes_an_option(server: Any, protocol: Protocol) -> None:
    message = f"inference request batch-size must be <= 8 for '{MODEL}'"
    server.behaviour.http_error = (400, message)
    server.behaviour.grpc_error = (StatusCode.INVALID_ARGUMENT, message)
    with connect(server, protocol) as embedder, pytest.raises(RejectedError) as caught:
        embedder.embed(pictures(9))
    assert caught.value.advice == "Pass --batch-size 8."


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (StatusCode.UNAVAILABLE, "Socket closed", UnreachableError),
        (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", RequestTimeoutError),
        (StatusCode.NOT_FOUND, "no version", NotFoundError),
        (StatusCode.INTERNAL, "onnx runtime error", RejectedError),
    ],
)
def test_grpc_codes_have_their_meaning(server: Any, code: StatusCode, message: str, kind: type[ClientError]) -> None:
    server.behaviour.grpc_error = (code, message)
    with connect(server, Protocol.GRPC) as embedder, pytest.raises(kind):
        embedder.embed(pictures(1))


@pytest.mark.parametrize(
    ("code", "kind"),
    [(503, UnreachableError), (504, RequestTimeoutError), (404, NotFoundError), (500, RejectedError)],
)
def test_http_codes_have_their_meaning(server: Any, code: int, kind: type[ClientError]) -> None:
    server.behaviour.http_error = (code, "something")
    with connect(server, Protocol.HTTP) as embedder, pytest.raises(kind):
        embedder.embed(pictures(1))


@both
def test_the_other_protocols_port_suggests_the_other_protocol(server: Any, protocol: Protocol) -> None:
    other = Protocol.HTTP if protocol is Protocol.GRPC else Protocol.GRPC
    with (
        Embedder(server.addresses[other], model=MODEL, protocol=protocol, timeout_s=5) as embedder,
        pytest.raises(UnreachableError) as caught,
    ):
        embedder.embed(pictures(1))
    assert f"is this the {other} port" in caught.value.advice


def test_a_page_that_is_no_json_is_nobody(server: Any) -> None:
    server.behaviour.page = "<html>Welcome to the hotel</html>"
    with connect(server, Protocol.HTTP) as embedder, pytest.raises(UnreachableError, match="No Triton server"):
        embedder.embed(pictures(1))


@both
@pytest.mark.parametrize(("scale", "word"), [(float("nan"), "not finite"), (0.0, "all zero")])
def test_a_broken_embedding_is_never_handed_on(server: Any, protocol: Protocol, scale: float, word: str) -> None:
    server.behaviour.scale = scale
    with connect(server, protocol) as embedder, pytest.raises(EmbeddingError, match=word):
        embedder.embed(pictures(1))


def test_pictures_of_another_size_are_refused_before_they_are_sent(server: Any) -> None:
    with connect(server, Protocol.GRPC) as embedder, pytest.raises(UsageError, match=r"takes \[3, 32, 32\]"):
        embedder.embed(np.zeros((1, 3, 224, 224), dtype=np.float32))
    assert server.behaviour.batches == []


@both
def test_a_model_that_takes_no_images_is_refused(server: Any, protocol: Protocol) -> None:
    server.behaviour.image_shape = (-1, 77)
    with connect(server, protocol) as embedder, pytest.raises(RejectedError, match=r"image \[-1, 77\]"):
        embedder.signature()


def test_metadata_without_tensors_is_refused() -> None:
    with pytest.raises(RejectedError, match="it has no tensors"):
        parse_signature({}, model=MODEL)


@pytest.mark.parametrize("address", ["localhost:8001", "10.0.0.1:1", "[::1]:8001", "a.b-c.svc:8001"])
def test_host_and_port_are_accepted(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":8001", "http://localhost:8000/", "a b:1", "::1:8001"])
def test_anything_else_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert "localhost:800" in caught.value.advice


vectors_of_numbers = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4).filter(lambda row: max(map(abs, row)) > 1e-3),
    min_size=1,
    max_size=5,
)


@given(rows=vectors_of_numbers, factor=st.floats(0.01, 100))
def test_normalised_rows_have_length_one_whatever_their_scale(rows: list[list[float]], factor: float) -> None:
    vectors = np.array(rows, dtype=np.float32)
    unit = normalise(vectors)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(normalise((vectors * factor).astype(np.float32)), unit, atol=1e-5)
    np.testing.assert_allclose(np.diag(cosines(vectors)), 1, atol=1e-6)


def test_huge_values_do_not_overflow() -> None:
    np.testing.assert_allclose(normalise(np.array([[3e30, 4e30]], dtype=np.float32)), [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("row", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_has_no_direction_is_not_normalised(row: list[float]) -> None:
    with pytest.raises(EmbeddingError):
        normalise(np.array([row], dtype=np.float32))
