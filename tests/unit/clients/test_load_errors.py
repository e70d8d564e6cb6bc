"""What is wrong with which version, out of what Triton says: recorded from Triton 2.51, with the light image's backend and with the C++ one's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.clients.load_errors import parse_load_error, summarize_load_error

STACK = "\n\nAt:\n  /opt/tritonserver/backends/onnxruntime/model.py(64): initialize\n"
LOAD_FAILED = "load failed for model 'clip__candidate': "


def light(version: int, cause: str) -> str:
    return f"version {version} is at UNAVAILABLE state: Internal: TritonModelException: {cause}{STACK};"


def unreadable(version: int) -> str:
    path = f"/models/clip__candidate/{version}/model.onnx"
    return f"ONNX Runtime cannot load {path}: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from {path} failed:Protobuf parsing failed."


UNKNOWN_OPERATOR = (
    "ONNX Runtime cannot load /models/clip__candidate/4/model.onnx: [ONNXRuntimeError] : 1 : FAIL : Load model from "
    "/models/clip__candidate/4/model.onnx failed:Fatal error: example.invalid:Imaginary(-1) is not a registered function/op"
)
NO_GPU = (
    "Invalid argument: instance group clip_0 of model clip specifies invalid or unsupported gpu id 0. "
    "GPUs with at least the minimum required CUDA compute compatibility of 6.000000 are: "
)
SHAPES = "tensor 'embedding': the model expects 2 dimensions (shape [-1,256]) but the model configuration specifies 2 dimensions (…)"

#: What Triton said, and what is wrong with which version.
MESSAGES: dict[str, tuple[str, dict[int, str]]] = {
    "one of two versions cannot be read": (f"{LOAD_FAILED}{light(3, unreadable(3))}\n", {3: unreadable(3)}),
    "both cannot be read, and the later one is named first": (
        f"{LOAD_FAILED}{light(5, unreadable(5))}{light(3, unreadable(3))}\n",
        {3: unreadable(3), 5: unreadable(5)},
    ),
    "each for a cause of its own": (
        f"{LOAD_FAILED}{light(5, unreadable(5))}{light(4, UNKNOWN_OPERATOR)}\n",
        {4: UNKNOWN_OPERATOR, 5: unreadable(5)},
    ),
    "the process of the version died, mostly of memory": (
        f"{LOAD_FAILED}version 1 is at UNAVAILABLE state: Internal: Stub process 'clip__candidate_0_0' is not healthy.;\n",
        {1: "Stub process 'clip__candidate_0_0' is not healthy."},
    ),
    "there is no GPU": (
        f"load failed for model 'clip': version 1 is at UNAVAILABLE state: {NO_GPU};\n",
        {1: NO_GPU.strip()},
    ),
    "the C++ backend's words": (
        f"load failed for model 'clip': version 2 is at UNAVAILABLE state: Internal: {SHAPES};\n",
        {2: SHAPES},
    ),
    "an edit of instances that a loaded version does not take": (
        "load failed for model 'clip': version 1 is at READY state: Internal: no memory;\n",
        {1: "no memory"},
    ),
    "it was cut within the second cause": (
        f"{LOAD_FAILED}{light(5, unreadable(5))}version 3 is at UNAVAILABLE state: Internal: Trito",
        {3: "Trito", 5: unreadable(5)},
    ),
    "it was cut before any cause": (f"{LOAD_FAILED}version 3 is at UNAVA", {}),
    "no version is there": (
        f"{LOAD_FAILED}at least one version must be available under the version policy of model 'clip__candidate'\n",
        {},
    ),
    "the configuration cannot be read": ("failed to load 'clip', failed to poll from model repository", {}),
    "a cause speaks of another version, but in its own words": (
        f"{LOAD_FAILED}{light(1, 'needs version 9 is at least what it says: no')}\n",
        {1: "needs version 9 is at least what it says: no"},
    ),
    "nothing was said": ("", {}),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_causes_when(name: str) -> None:
    message, causes = MESSAGES[name]
    assert parse_load_error(message) == causes


#: A message, how long its summary may be, and the summary.
SUMMARIES: dict[str, tuple[str, int, str]] = {
    "there is room": (MESSAGES["one of two versions cannot be read"][0], 300, f"version 3: {unreadable(3)}"),
    "two share a cause": (
        MESSAGES["both cannot be read, and the later one is named first"][0],
        300,
        f"versions 3, 5: {unreadable(3).replace('/3/', '/N/')}",
    ),
    "each has a share": (
        MESSAGES["each for a cause of its own"][0],
        100,
        "version 4: ONNX Runtime cannot load /models/clip…; version 5: ONNX Runtime cannot load /models/clip…",
    ),
    "no version is named": (
        MESSAGES["no version is there"][0],
        300,
        "at least one version must be available under the version policy of model 'clip__candidate'",
    ),
    "the configuration cannot be read": (
        MESSAGES["the configuration cannot be read"][0],
        300,
        "failed to poll from model repository",
    ),
    "nothing but the prefix is there": ("load failed for model 'clip': ", 300, "load failed for model 'clip':"),
    "nothing was said": ("", 300, ""),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_summary_when(name: str) -> None:
    message, length, summary = SUMMARIES[name]
    assert summarize_load_error(message, length=length) == summary


def test_a_cause_of_megabytes_takes_no_room_from_the_other_version() -> None:
    message = f"{LOAD_FAILED}{light(2, 'x' * 2_000_000)}{light(1, 'no file')}\n"
    assert summarize_load_error(message, length=60) == "version 1: no file; version 2: xxxxxxxxxxxxxxxxx…"


VERSIONS = st.integers(min_value=1, max_value=2**63 - 1)
# A backend's words without what could be taken for Triton's own.
WORDS = st.text(st.characters(exclude_characters=";", exclude_categories=["Cc", "Zs", "Zl", "Zp", "Cs"]), min_size=1)


@given(st.dictionaries(VERSIONS, WORDS, max_size=6), st.randoms())
def test_every_version_is_found_whatever_the_order(causes: dict[int, str], random: object) -> None:
    parts = [light(version, cause) for version, cause in causes.items()]
    random.shuffle(parts)  # type: ignore[attr-defined]  # hypothesis' own Random
    assert parse_load_error(f"{LOAD_FAILED}{''.join(parts)}\n") == causes


@given(st.text(), st.integers(min_value=0, max_value=400))
def test_a_summary_is_one_line_and_never_longer_than_asked_for(message: str, length: int) -> None:
    for text in (
        message,
        f"{LOAD_FAILED}version 1 is at UNAVAILABLE state: {message};version 2 is at UNAVAILABLE state: {message};",
    ):
        summary = summarize_load_error(text, length=length)
        assert len(summary) <= length
        assert len(summary.splitlines()) <= 1
