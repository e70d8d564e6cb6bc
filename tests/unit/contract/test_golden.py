"""The golden images and the golden check are those of docs/spec/sync.md: the same pictures, and the same verdict on any two vectors."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract import golden
from clipmodel_export.golden import render_golden_images
from clipmodel_sync.checks.proof import golden_images


def image_by_numpy(index: int, size: int) -> npt.NDArray[np.float32]:
    """Make a golden image as docs/spec/sync.md words it, by other means than the contract."""
    data = hashlib.shake_128(f"clipmodel-golden-v1/{index}".encode()).digest(588 + 3 * size * size)
    blocks = np.frombuffer(data, np.uint8, 588).reshape(3, 14, 14).astype(np.float32)
    noise = np.frombuffer(data, np.uint8, offset=588).reshape(3, size, size).astype(np.float32)
    block_of_pixel = 14 * np.arange(size) // size
    image: npt.NDArray[np.float32] = (3 * blocks[:, block_of_pixel][:, :, block_of_pixel] + noise) / np.float32(1024)
    return image


def is_same_by_numpy(one: npt.ArrayLike, other: npt.ArrayLike) -> bool:
    """Apply the golden check as docs/spec/sync.md words it, by other means than the contract."""
    left, right = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if left.shape != right.shape or not (np.isfinite(left).all() and np.isfinite(right).all()):
        return False
    left_norm, right_norm = float(np.linalg.norm(left)), float(np.linalg.norm(right))
    if not left_norm or not right_norm:
        return False
    cosine = float(left @ right) / (left_norm * right_norm)
    return cosine >= 0.9999 and abs(left_norm / right_norm - 1) <= 0.01


def array(content: bytes, size: int) -> npt.NDArray[np.float32]:
    return np.frombuffer(content, "<f4").reshape(3, size, size)


@pytest.mark.parametrize("size", [1, 13, 14, 15, 16, 32, 100, 224, 336])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_pictures_are_those_of_the_page(size: int, index: int) -> None:
    content = golden.golden_image(index, size)
    assert content == image_by_numpy(index, size).astype("<f4").tobytes()
    assert len(content) == 4 * 3 * size * size


@pytest.mark.parametrize("size", [14, 15, 224])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_pixel_is_what_the_page_says(index: int, size: int) -> None:
    data = hashlib.shake_128(f"clipmodel-golden-v1/{index}".encode()).digest(588 + 3 * size * size)
    image = array(golden.golden_image(index, size), size)
    for c, y, x in [
        *[(0, 0, 0), (2, size - 1, size - 1), (1, size // 3, size // 2), (2, 0, size - 1)],
        *[(1, size - 1, 0), (2, size // 2, size - 1), (1, 5, 7)],
    ]:
        block = data[196 * c + 14 * math.floor(14 * y / size) + math.floor(14 * x / size)]
        noise = data[588 + (c * size + y) * size + x]
        assert image[c, y, x] == (3 * block + noise) / 1024
    assert 0 <= image.min() < image.max() < 1


def test_pictures_are_unlike() -> None:
    assert golden.golden_image(0, 224) != golden.golden_image(1, 224)
    first, second = (array(golden.golden_image(k, 32), 32) for k in range(2))
    assert np.abs(first - second).max() > 0.5
    assert (golden.IMAGES, golden.IMAGE_COUNT) == ("clipmodel-golden-v1", 2)
    assert (golden.MIN_COSINE, golden.MAX_NORM_DEVIATION) == (0.9999, 0.01)


def test_the_pictures_never_change() -> None:
    # Every golden vector that is on a volume somewhere was made from these bytes.
    content = golden.golden_image(0, 224) + golden.golden_image(1, 224)
    assert hashlib.sha256(content).hexdigest() == "abeab97ffc2134eecbc62be55b2a3955bea362c488b366d6c51fb466bf6a3794"


def test_the_exporters_array_is_the_same_bytes() -> None:
    images = render_golden_images(3, size=32)
    assert images.shape == (3, 3, 32, 32)
    assert images.dtype == np.float32
    for index, image in enumerate(images):
        assert image.tobytes() == golden.golden_image(index, 32)


def test_the_sync_programs_batch_is_the_same_bytes() -> None:
    images = golden_images(32)
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == np.float32
    assert images.tobytes() == golden.golden_image(0, 32) + golden.golden_image(1, 32)


numbers = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e-30])
vectors = st.lists(numbers, min_size=1, max_size=6).map(tuple)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4))
def test_the_check_is_that_of_the_page(pairs: list[tuple[float, float]]) -> None:
    one, other = tuple(zip(*pairs, strict=True))
    assert (golden.difference(one, other) is None) == is_same_by_numpy(one, other)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([3.0, 4.0], True),
        ([3.02, 4.0], True),
        ([3.029, 4.039], True),
        ([3.05, 4.06], False),
        ([3.2, 4.0], False),
        ([-3.0, -4.0], False),
        ([0.0, 0.0], False),
        ([float("nan"), 4.0], False),
        ([float("inf"), 4.0], False),
        ([3.0, 4.0, 0.0], False),
    ],
)
def test_the_golden_check(other: list[float], *, same: bool) -> None:
    assert (golden.difference(tuple(other), (3.0, 4.0)) is None) is same


@given(vectors.filter(lambda v: all(map(math.isfinite, v)) and math.hypot(*v) > 1e-3), st.floats(0.991, 1.009))
def test_a_vector_equals_itself_and_its_near_multiples(vector: tuple[float, ...], factor: float) -> None:
    assert golden.difference(vector, vector) is None
    assert golden.difference(tuple(factor * v for v in vector), vector) is None


@pytest.mark.parametrize(
    ("served", "golden_vector", "said"),
    [
        pytest.param((1.0, 2.0), (1.0, 2.0, 3.0), "2 values, expected 3", id="another dimension"),
        pytest.param((math.nan, 2.0), (1.0, 2.0), "not finite", id="NaN is served"),
        pytest.param(
            (1.0, 2.0), (math.nan, 2.0), "not finite", id="NaN is expected: nothing could ever differ from it"
        ),
        pytest.param((0.0, 0.0), (1.0, 2.0), "only zeros", id="zeros are served"),
        pytest.param((), (), "only zeros", id="no values at all"),
        pytest.param((2.0, 1.0), (1.0, 2.0), "cosine 0.8000", id="another direction"),
        pytest.param((-1.0, -2.0), (1.0, 2.0), "cosine -1.0000", id="the opposite"),
        pytest.param((1.02, 2.04), (1.0, 2.0), "norm 2.281, expected 2.236", id="another length"),
    ],
)
def test_a_difference_is_named(served: tuple[float, ...], golden_vector: tuple[float, ...], said: str) -> None:
    found = golden.difference(served, golden_vector)
    assert found is not None
    assert said in found


@given(st.lists(st.floats(width=16), min_size=1, max_size=20))
def test_vectors_are_read_as_they_are_written(values: list[float]) -> None:
    text = golden.encode_vector(values)
    assert base64.b64decode(text) == struct.pack(f"<{len(values)}e", *values)
    assert struct.pack(f"<{len(values)}e", *golden.decode_vector(text)) == base64.b64decode(text)


@pytest.mark.parametrize("text", ["", "A", "AA==", "not base64!", "AAA=\n"])
def test_what_is_no_vector_is_refused(text: str) -> None:
    with pytest.raises(golden.VectorError):
        golden.decode_vector(text)


def test_a_value_beyond_float16_is_refused() -> None:
    assert golden.decode_vector(golden.encode_vector([65504.0])) == (65504.0,)
    with pytest.raises(golden.VectorError):
        golden.encode_vector([65520.0])


def test_a_request_is_a_header_and_the_picture() -> None:
    image = golden.golden_image(0, 8)
    body, length = golden.infer_request(image, input_name="image", output_name="embedding", size=8)
    header = json.loads(body[:length])
    assert header["inputs"] == [
        {"name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": len(image)}}
    ]
    assert header["outputs"] == [{"name": "embedding", "parameters": {"binary_data": True}}]
    assert body[length:] == image


def test_a_request_for_a_batch_is_a_header_and_the_pictures() -> None:
    images = [golden.golden_image(i, 8) for i in range(2)]
    body, length = golden.infer_batch_request(images, input_name="image", output_name="embedding", size=8)
    (tensor,) = json.loads(body[:length])["inputs"]
    assert (tensor["shape"], tensor["parameters"]) == ([2, 3, 8, 8], {"binary_data_size": 2 * len(images[0])})
    assert body[length:] == images[0] + images[1]


def answer(values: Sequence[float], shape: object) -> tuple[bytes, int]:
    data = struct.pack(f"<{len(values)}f", *values)
    header = json.dumps({"outputs": [{"shape": shape, "parameters": {"binary_data_size": len(data)}}]}).encode()
    return header + data, len(header)


def test_an_answer_to_a_batch_is_a_vector_for_each_picture() -> None:
    body, length = answer([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3])
    assert golden.infer_batch_response(body, length, count=2) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert golden.infer_response(body, length) == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


@pytest.mark.parametrize("shape", [None, [6], [1, 6], [3, 2], [2, 2], "23"])
def test_an_answer_of_another_shape_is_refused(shape: object) -> None:
    body, length = answer([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], shape)
    with pytest.raises(golden.AnswerError, match="not 2 embeddings: 6 values of shape "):
        golden.infer_batch_response(body, length, count=2)


def test_an_answer_without_values_is_refused() -> None:
    with pytest.raises(golden.AnswerError, match="not 2 embeddings: 0 values"):
        golden.infer_batch_response(*answer([], [2, 0]), count=2)


@given(st.binary(max_size=60), st.integers(-10, 70))
def test_what_is_no_answer_is_refused(body: bytes, length: int) -> None:
    with pytest.raises(golden.AnswerError):
        golden.infer_response(body, length)
    with pytest.raises(golden.AnswerError):
        golden.infer_batch_response(body, length, count=2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
)


@given(json_values, st.binary(max_size=9))
def test_an_answer_of_any_json_is_a_vector_or_refused(value: object, tail: bytes) -> None:
    for outputs in (value, [value], [{"parameters": value}], [{"parameters": {"binary_data_size": value}}]):
        header = json.dumps({"outputs": outputs}).encode()
        try:
            found = golden.infer_response(header + tail, len(header))
        except golden.AnswerError:
            continue
        assert all(isinstance(v, float) for v in found)
