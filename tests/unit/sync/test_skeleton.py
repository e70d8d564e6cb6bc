"""A skeleton lacks the large weights and nothing else: the ONNX checker says of it what it says of the file."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipmodel_sync.checks.skeleton import read_skeleton
from support.tiny_onnx import build_tiny_onnx

# Its large weight is 48 x 512 floats.
MODEL = build_tiny_onnx()
WEIGHT = "tiny_weight"


@pytest.fixture(scope="module")
def skeleton_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], bytes]:
    path = tmp_path_factory.mktemp("skeleton") / "model.onnx"

    def read(content: bytes) -> bytes:
        path.write_bytes(content)
        return read_skeleton(path)

    return read


def model() -> onnx.ModelProto:
    return onnx.load_from_string(MODEL)


def weight_of(found: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in found.graph.initializer if t.name == WEIGHT)


def field(number: int, content: bytes) -> bytes:
    length, encoded = len(content), b""
    while length >= 0x80:
        encoded += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([length]) + content


def with_weight(content: bytes) -> bytes:
    """The model, with this for its large weight's message."""
    whole = model()
    graph = onnx.GraphProto()
    graph.CopyFrom(whole.graph)
    graph.initializer.remove(next(t for t in graph.initializer if t.name == WEIGHT))
    whole.ClearField("graph")
    serialized: bytes = whole.SerializeToString()
    return serialized + field(7, graph.SerializeToString() + field(5, content))


def verdict(content: bytes) -> str:
    try:
        onnx.checker.check_model(content)
    except Exception as error:  # noqa: BLE001 - whatever it says
        return f"{type(error).__name__}: {error}"
    return "good"


def test_it_lacks_the_large_weights_and_nothing_else(skeleton_of: Callable[[bytes], bytes]) -> None:
    skeleton = skeleton_of(MODEL)
    expected = model()
    weight_of(expected).ClearField("raw_data")
    weight_of(expected).dims[:] = [0]
    assert onnx.load_from_string(skeleton) == expected
    assert len(skeleton) < len(MODEL) - 48 * 512 * 4 + 100


def test_the_weights_are_not_read(tmp_path: Path) -> None:
    """The sizes of a model's file and of what is needed to check it have nothing to do with each other."""
    rows, path = 1 << 13, tmp_path / "model.onnx"
    tensor = onnx.TensorProto(name=WEIGHT, data_type=onnx.TensorProto.FLOAT, dims=[rows, 512])
    content = with_weight(tensor.SerializeToString() + field(9, bytes(rows * 512 * 4)))
    path.write_bytes(content)
    del content
    tracemalloc.start()
    try:
        skeleton = read_skeleton(path)
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert weight_of(onnx.load_from_string(skeleton)).dims == [0]
    assert highest < path.stat().st_size // 100


def test_packed_sizes(skeleton_of: Callable[[bytes], bytes]) -> None:
    tensor = weight_of(model())
    tensor.ClearField("dims")
    content = with_weight(tensor.SerializeToString() + field(1, b"\x30\x80\x04"))
    assert weight_of(onnx.load_from_string(content)).dims == [48, 512]
    assert weight_of(onnx.load_from_string(skeleton_of(content))).dims == [0]


def _cut(tensor: onnx.TensorProto) -> None:
    tensor.raw_data = tensor.raw_data[:-1]


def _lengthened(tensor: onnx.TensorProto) -> None:
    tensor.raw_data += b"\0"


def _negative(tensor: onnx.TensorProto) -> None:
    tensor.dims[:] = [-48, -512]


def _twice(tensor: onnx.TensorProto) -> None:
    tensor.float_data[:] = [1.0] * (48 * 512)


def _as_numbers(tensor: onnx.TensorProto) -> None:
    tensor.float_data[:] = struct.unpack(f"<{48 * 512}f", tensor.raw_data)
    tensor.ClearField("raw_data")


def _as_text(tensor: onnx.TensorProto) -> None:
    tensor.data_type = onnx.TensorProto.STRING


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = onnx.TensorProto.EXTERNAL


@pytest.mark.parametrize("change", [_cut, _lengthened, _negative, _twice, _as_numbers, _as_text, _external])
def test_a_weight_that_the_checker_has_to_see_stays(
    skeleton_of: Callable[[bytes], bytes], change: Callable[[onnx.TensorProto], None]
) -> None:
    changed = model()
    change(weight_of(changed))
    content: bytes = changed.SerializeToString()
    skeleton = skeleton_of(content)
    assert onnx.load_from_string(skeleton) == changed
    assert verdict(skeleton) == verdict(content)


@pytest.mark.parametrize("extra", [field(9, b"1234"), b"\x10\x01"], ids=["a second raw_data", "a second data_type"])
def test_a_weight_with_a_field_twice_stays(skeleton_of: Callable[[bytes], bytes], extra: bytes) -> None:
    content = with_weight(weight_of(model()).SerializeToString() + extra)
    assert skeleton_of(content) == content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html>Sign in</html>", id="html"),
        pytest.param(b"\xff" * 5000, id="a number without an end"),
        pytest.param(b"\x08", id="the end within a number"),
        pytest.param(MODEL[: len(MODEL) // 2], id="half a model"),
        pytest.param(with_weight(weight_of(model()).SerializeToString())[:-1], id="a weight that is cut off"),
        pytest.param(MODEL + b"\x0b\x0c", id="a group"),
    ],
)
def test_what_cannot_be_walked_is_given_back_whole(skeleton_of: Callable[[bytes], bytes], content: bytes) -> None:
    assert skeleton_of(content) == content


@pytest.mark.parametrize(
    "extra", [b"\x9d\x061234", b"\x99\x0612345678", b"\x98\x06\x80\x01"], ids=["4 bytes", "8 bytes", "a number"]
)
def test_a_field_that_nobody_knows_is_kept(skeleton_of: Callable[[bytes], bytes], extra: bytes) -> None:
    assert skeleton_of(MODEL + extra) == skeleton_of(MODEL) + extra


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(of_graph=st.integers(0, 20_000), of_weight=st.integers(0, 20_000))
def test_messages_of_any_length(skeleton_of: Callable[[bytes], bytes], of_graph: int, of_weight: int) -> None:
    expected = model()
    expected.graph.doc_string, weight_of(expected).doc_string = "g" * of_graph, "w" * of_weight
    content: bytes = expected.SerializeToString()
    weight_of(expected).ClearField("raw_data")
    weight_of(expected).dims[:] = [0]
    assert onnx.load_from_string(skeleton_of(content)) == expected


def _structure() -> list[int]:
    """The places of a model's bytes that are not its large weight."""
    start = MODEL.index(weight_of(model()).raw_data)
    return [i for i in range(len(MODEL)) if not start <= i < start + 48 * 512 * 4]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.sampled_from(_structure()), st.integers(0, 255)), min_size=1, max_size=3))
def test_the_checker_says_the_same_of_both(skeleton_of: Callable[[bytes], bytes], edits: list[tuple[int, int]]) -> None:
    content = bytearray(MODEL)
    for place, value in edits:
        content[place] = value
    assert verdict(skeleton_of(bytes(content))) == verdict(bytes(content))
