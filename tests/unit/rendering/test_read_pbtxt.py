"""What is committed as text is loaded again as it was: reading is the inverse of rendering, for every spec."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES, Profile
from clipmodel_operator.rendering.config_pbtxt import render_config, render_config_pbtxt
from clipmodel_operator.rendering.read_pbtxt import ConfigTextError, read_config_pbtxt
from support.builders import build_model
from support.strategies import specs

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*/expected/config.pbtxt"))


@given(specs, st.sampled_from(SERVED_PROFILES), st.lists(st.integers(1, 9), min_size=1, unique=True))
def test_reading_gives_what_was_rendered(spec: dict[str, Any], profile: Profile, versions: list[int]) -> None:
    model = build_model(spec)
    text = render_config_pbtxt(model, versions=versions, profile=profile)
    assert read_config_pbtxt(text) == render_config(model, versions=versions, profile=profile)


def test_golden_files_can_be_read() -> None:
    assert len(GOLDEN) > 10
    for file in GOLDEN:
        assert read_config_pbtxt(file.read_text("utf-8"))["backend"] == "onnxruntime", file


def test_strings_come_back_as_they_were() -> None:
    text = 'name: "a\\"b\\\\c\\nd"'
    assert read_config_pbtxt(text) == {"name": 'a"b\\c\nd'}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "edited by hand",
        "name: ",
        'name: "a',
        'name: "a" }',
        'name: "a" name: "b"',
        'name: "a" input [ 1 2 ]',
        "{}",
        'name: "a" parameters { key: 1 }',
        'name: "a" max_batch_size 5.5',
        'name: "a" dims: { x: 1 }',
        "name: \x00",
    ],
)
def test_anything_else_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(ConfigTextError):
        read_config_pbtxt(text)


@given(st.text(max_size=60))
def test_no_text_ends_in_another_error(text: str) -> None:
    with contextlib.suppress(ConfigTextError):
        read_config_pbtxt(text)
