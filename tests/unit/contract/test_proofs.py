"""versions.json: written and read by one module, held to a literal text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract import golden, proofs
from clipmodel_contract.tensors import Tensors

VECTOR = "ADwAQA=="
LITERAL: dict[str, Any] = {
    "model": "clip",
    "input": "image",
    "output": "embedding",
    "imageSize": 224,
    "proofs": {
        "b0": {"minCosine": 0.9999, "versions": {"1": "1111", "10": "aaaa"}},
        "p0": {"minCosine": 0.98, "versions": {"1": "1111"}},
    },
    "golden": {
        "1111": {"images": "clipmodel-golden-v1", "dtype": "float16", "vectors": [VECTOR, VECTOR]},
        "aaaa": {"images": "clipmodel-golden-v1", "dtype": "float16", "vectors": [VECTOR]},
    },
}


def render(
    known: Mapping[str, tuple[float, Mapping[int, str]]], vectors: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    return proofs.render_proofs(model="clip", tensors=Tensors(), proofs=known, vectors=vectors)


def test_a_file_is_as_it_is_described() -> None:
    known = {"p0": (0.98, {1: "1111"}), "b0": (0.9999, {10: "aaaa", 1: "1111"})}
    found = render(known, {"1111": (VECTOR, VECTOR), "aaaa": (VECTOR,), "not asked for": (VECTOR,)})
    assert found == LITERAL
    assert golden.decode_vector(VECTOR) == (1.0, 2.0)


def test_a_file_is_read() -> None:
    found = proofs.parse_proofs(json.dumps(LITERAL))
    assert (found.model, found.input_name, found.output_name, found.image_size) == ("clip", "image", "embedding", 224)
    assert found.proofs == {"b0": (0.9999, {1: "1111", 10: "aaaa"}), "p0": (0.98, {1: "1111"})}
    assert found.vectors == {"1111": (VECTOR, VECTOR), "aaaa": (VECTOR,)}


digests = st.text("0123456789abcdef", min_size=1, max_size=4)
proof = st.tuples(
    st.floats(0, 1, exclude_min=True), st.dictionaries(st.integers(1, 999), digests, min_size=1, max_size=4)
)


@given(
    st.dictionaries(st.text(min_size=1, max_size=4), proof, min_size=1, max_size=4),
    st.lists(st.floats(width=16), min_size=1, max_size=4).map(golden.encode_vector),
)
def test_what_is_written_is_read(known: dict[str, tuple[float, dict[int, str]]], vector: str) -> None:
    vectors = {sha256: (vector,) for _, versions in known.values() for sha256 in versions.values()}
    found = proofs.parse_proofs(json.dumps(render(known, vectors)))
    assert found == ("clip", "image", "embedding", 224, known, vectors)


def put(*path: str, value: Any) -> str:
    content = json.loads(json.dumps(LITERAL))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a versions.json"),
        ("[" * 100_000, "not a versions.json"),
        ("null", "not a versions.json"),
        (json.dumps({k: v for k, v in LITERAL.items() if k != "golden"}), "not a versions.json: KeyError('golden')"),
        (put("imageSize", value="wide"), "not a versions.json"),
        (put("proofs", value=[]), "not a versions.json"),
        (put("proofs", value={}), "it names no version, so nothing can be proven"),
        (put("proofs", "p0", "versions", value={}), "the proof of config p0 names no version, so nothing can be proven"),
        (put("proofs", "p0", "versions", "1", value="2222"), "the proof of config p0 has no golden vectors of version 1"),
        (put("proofs", "p0", "minCosine", value=float("nan")), "the proof of config p0 asks for a cosine of nan"),
        (put("proofs", "p0", "minCosine", value=0), "the proof of config p0 asks for a cosine of 0.0"),
        (put("proofs", "p0", "minCosine", value=-1), "the proof of config p0 asks for a cosine of -1.0"),
        (put("proofs", "p0", "minCosine", value=1.5), "the proof of config p0 asks for a cosine of 1.5"),
        (put("golden", "1111", "vectors", value=[]), "there is no golden vector of 1111"),
        (put("golden", "1111", "vectors", value=["A"]), "not a versions.json: VectorError"),
        (put("golden", "1111", "images", value="v2"), "golden vectors are float16 of v2, expected float16 of clipmodel-golden-v1"),
        (put("golden", "1111", "dtype", value="float32"), "golden vectors are float32 of clipmodel-golden-v1"),
    ],
)  # fmt: skip
def test_by_what_is_no_proof_nothing_is_right(text: str, said: str) -> None:
    with pytest.raises(proofs.ProofsError) as raised:
        proofs.parse_proofs(text)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("known", "vectors"),
    [
        ({}, {"1111": [VECTOR]}),
        ({"b0": (0.9999, {})}, {"1111": [VECTOR]}),
        ({"b0": (0.9999, {1: "1111"})}, {}),
        ({"b0": (0.9999, {1: "1111"})}, {"1111": []}),
        ({"b0": (0.9999, {1: "1111"})}, {"1111": ["A"]}),
        ({"b0": (float("nan"), {1: "1111"})}, {"1111": [VECTOR]}),
    ],
)
def test_what_the_probe_would_refuse_is_not_written(known: Any, vectors: Any) -> None:
    with pytest.raises(proofs.ProofsError):
        render(known, vectors)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
)


@given(json_values, st.sampled_from(sorted(LITERAL)))
def test_any_json_is_proofs_or_refused(value: object, key: str) -> None:
    for content in (
        value,
        {**LITERAL, key: value},
        put("proofs", "b0", value=value),
        put("golden", "1111", value=value),
    ):
        text = content if isinstance(content, str) else json.dumps(content)
        try:
            found = proofs.parse_proofs(text)
        except proofs.ProofsError:
            continue
        assert all(p.versions and 0 < p.min_cosine <= 1 for p in found.proofs.values())


CONFIG: dict[str, Any] = {
    "name": "clip",
    "max_batch_size": 32,
    "version_policy": {"specific": {"versions": ["1", 2]}},
    "parameters": {"clipmodel.dev/config-id": {"string_value": "b0"}, "intra_op_thread_count": {"string_value": "2"}},
}


def test_a_loaded_config_is_read() -> None:
    assert proofs.read_loaded(CONFIG) == proofs.LoadedConfig("b0", frozenset({1, 2}), 32)
    assert proofs.read_loaded({k: v for k, v in CONFIG.items() if k != "max_batch_size"}).max_batch_size == 0


@given(json_values, st.sampled_from(sorted(CONFIG)))
def test_any_json_is_a_loaded_config_or_refused(value: object, key: str) -> None:
    for content in (value, {**CONFIG, key: value}, {**CONFIG, "version_policy": {"specific": value}}):
        try:
            proofs.read_loaded(content)
        except proofs.ProofsError:
            continue
