"""The golden check is the same in every program: identical pictures, and the same verdict on any two vectors."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models import golden
from clipmodel_sync import golden as sync_golden
from support.builders import encode_vector


@pytest.mark.parametrize("size", [1, 13, 14, 15, 16, 100, 224])
@pytest.mark.parametrize("index", [0, 1])
def test_both_programs_make_the_same_pictures(size: int, index: int) -> None:
    ours = golden.golden_image(index, size)
    assert ours == sync_golden.golden_image(index, size).astype("<f4").tobytes()
    assert len(ours) == 4 * 3 * size * size


def test_pictures_are_what_the_contract_says() -> None:
    values = np.frombuffer(golden.golden_image(0, 224), "<f4")
    assert values.min() >= 0
    assert values.max() < 1
    assert golden.golden_image(0, 224) != golden.golden_image(1, 224)
    assert (golden.IMAGES, golden.IMAGE_COUNT) == (sync_golden.NAME, sync_golden.COUNT)
    assert (golden.MIN_COSINE, golden.MAX_NORM_DEVIATION) == (sync_golden.MIN_COSINE, sync_golden.MAX_NORM_DEVIATION)


numbers = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e-30])
vectors = st.lists(numbers, min_size=1, max_size=6).map(tuple)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4))
def test_both_programs_judge_alike(pairs: list[tuple[float, float]]) -> None:
    one, other = tuple(zip(*pairs, strict=True))
    assert (golden.difference(one, other) is None) == sync_golden.is_same_embedding(one, other)


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
    assert struct.pack(f"{len(values)}e", *golden.decode_vector(encode_vector(values))) == struct.pack(
        f"{len(values)}e", *values
    )


@pytest.mark.parametrize("text", ["", "A", "AA==", "not base64!", "AAA=\n"])
def test_what_is_no_vector_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs by what base64 finds
        golden.decode_vector(text)


def test_a_request_is_a_header_and_the_picture() -> None:
    image = golden.golden_image(0, 8)
    body, length = golden.infer_request(image, input_name="image", output_name="embedding", size=8)
    header = json.loads(body[:length])
    assert header["inputs"] == [
        {"name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": len(image)}}
    ]
    assert header["outputs"] == [{"name": "embedding", "parameters": {"binary_data": True}}]
    assert body[length:] == image


@given(st.binary(max_size=60), st.integers(-10, 70))
def test_what_is_no_answer_is_a_value_error(body: bytes, length: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs
        golden.infer_response(body, length)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
)


@given(json_values, st.binary(max_size=9))
def test_an_answer_of_any_json_is_a_vector_or_a_value_error(value: object, tail: bytes) -> None:
    for outputs in (value, [value], [{"parameters": value}], [{"parameters": {"binary_data_size": value}}]):
        header = json.dumps({"outputs": outputs}).encode()
        try:
            found = golden.infer_response(header + tail, len(header))
        except ValueError:
            continue
        assert all(isinstance(v, float) for v in found)
