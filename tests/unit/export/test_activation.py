"""The choice between GELU and QuickGELU: evidence first, the user's word, never a guess."""

from pathlib import Path

import pytest

from clipmodel_export.activation import decide_for_file, decide_for_random, decide_for_tag, find_tags
from clipmodel_export.errors import QuickGeluError

# The shape of OpenCLIP's table for ViT-B-32; for other architectures laion400m was trained with GELU.
TAGS = {
    "openai": True,
    "laion400m_e32": True,
    "laion2b_e16": False,
    "laion2b_s34b_b79k": False,
    "datacomp_xl_s13b_b90k": False,
    "metaclip_400m": True,
    "metaclip_fullcc": True,
}
HUB_FOLDER = "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K/snapshots/0a1b"


def decide(
    name: str, *, asked: bool | None = None, architecture_says: bool = False, is_torchscript: bool = False
) -> bool:
    return decide_for_file(
        Path("/anywhere") / name,
        architecture="ViT-B-32",
        architecture_says=architecture_says,
        is_torchscript=is_torchscript,
        tags=TAGS,
        asked=asked,
    ).quick_gelu


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("laion2b_s34b_b79k.pt", False),
        ("CLIP-ViT-B-32-laion2B-s34B-b79K.safetensors", False),
        (f"{HUB_FOLDER}/open_clip_model.safetensors", False),
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", True),
        ("metaclip-b32.pt", True),
        ("openai.bin", True),
        ("datacomp_whatever.pt", False),
    ],
)
def test_the_file_name_is_evidence(name: str, *, expected: bool) -> None:
    assert decide(name) is expected


@pytest.mark.parametrize("name", ["model.pt", "laion400m_to_laion2b.pt", "openai-laion2b_e16/model.pt"])
def test_without_evidence_the_user_must_say(name: str) -> None:
    with pytest.raises(QuickGeluError, match="does not say") as caught:
        decide(name)
    assert "--quickgelu" in caught.value.advice
    assert decide(name, asked=True) is True
    assert decide(name, asked=False) is False


def test_a_word_against_the_evidence_is_refused() -> None:
    with pytest.raises(QuickGeluError, match="looks like GELU"):
        decide("laion2b_e16.pt", asked=True)
    with pytest.raises(QuickGeluError, match="TorchScript"):
        decide("ViT-B-32.pt", asked=False, is_torchscript=True)
    with pytest.raises(QuickGeluError, match="is a QuickGELU architecture"):
        decide("model.pt", asked=False, architecture_says=True)


def test_a_torchscript_archive_is_openais() -> None:
    assert decide("ViT-B-32.pt", is_torchscript=True) is True


def test_a_tag_knows_and_is_not_overruled() -> None:
    assert decide_for_tag(tag="openai", table_says=True, asked=None).quick_gelu is True
    assert decide_for_tag(tag="openai", table_says=True, asked=True).quick_gelu is True
    with pytest.raises(QuickGeluError, match="openai was trained with QuickGELU"):
        decide_for_tag(tag="openai", table_says=True, asked=False)


def test_random_weights_take_what_they_are_told() -> None:
    assert decide_for_random(architecture_says=False, asked=None).quick_gelu is False
    assert decide_for_random(architecture_says=False, asked=True).quick_gelu is True
    assert decide_for_random(architecture_says=True, asked=None).quick_gelu is True


def test_folders_above_are_no_evidence() -> None:
    assert find_tags(Path("/home/openai/model.pt"), TAGS) == []


def test_a_whole_tag_beats_its_family() -> None:
    assert find_tags(Path("laion2b_e16.pt"), TAGS) == ["laion2b_e16"]
    assert find_tags(Path("laion2b.pt"), TAGS) == ["laion2b_e16", "laion2b_s34b_b79k"]
