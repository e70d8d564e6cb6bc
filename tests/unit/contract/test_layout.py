"""Names and paths that are agreed on: those of docs/spec/sync.md."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract.names import candidate_name, default_model_name, is_candidate_name
from clipmodel_contract.tensors import Tensors
from clipmodel_contract.volume_layout import SOURCE_MOUNT, VOLUME_MOUNT, VersionLayout

PAGE = (Path(__file__).parents[3] / "docs/spec/sync.md").read_text("utf-8")
LAYOUT = VersionLayout(Path("/volume"), "openclip_vit_b32", 7)


def test_paths_on_the_volume_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.split("## The command")[0], re.MULTILINE)
    page = {f"/volume/{row}".replace("<modelName>", "openclip_vit_b32").replace("<N>", "7").rstrip("/") for row in rows}
    ours = {
        LAYOUT.version_file,
        LAYOUT.configs_directory,
        LAYOUT.candidate_directory / "model.onnx",
        LAYOUT.staging,
        LAYOUT.lock_file,
        LAYOUT.state_file,
    }
    assert {str(path) for path in ours} == page


def test_mounts_are_those_of_the_page() -> None:
    assert f"--volume {VOLUME_MOUNT} --source-root {SOURCE_MOUNT} " in PAGE
    assert f"`{SOURCE_MOUNT}/CLAIM/PATH`" in PAGE


def test_staging_is_outside_the_repository_and_on_the_same_volume() -> None:
    assert not LAYOUT.staging.is_relative_to(LAYOUT.repository)
    assert not LAYOUT.state_file.is_relative_to(LAYOUT.repository)
    assert LAYOUT.staging.is_relative_to(LAYOUT.root)


@given(st.text(min_size=1, max_size=50))
def test_a_candidates_name_is_nobody_elses(model: str) -> None:
    assert is_candidate_name(candidate_name(model))
    assert candidate_name(model) != model


def test_a_models_name_follows_from_the_resources() -> None:
    assert default_model_name("openclip-vit-b32") == "openclip_vit_b32"


def test_the_signature_is_the_pages() -> None:
    shown = '"signature": {"input": {"name": "image", "dtype": "FP32", "shape": [-1, 3, 224, 224]}, "output": {"name": "embedding", "dtype": "FP32", "shape": [-1, 512]}}'
    assert shown in PAGE
    assert Tensors().to_signature() == {
        "input": {"name": "image", "dtype": "FP32", "shape": [-1, 3, 224, 224]},
        "output": {"name": "embedding", "dtype": "FP32", "shape": [-1, 512]},
    }
