"""Words of an export: tag or file, where a model came from, the ClipModel that comes next."""

from pathlib import Path

import pytest
import yaml

from clipmodel_contract.model_metadata import is_random
from clipmodel_contract.tensors import Tensors
from clipmodel_export.model import (
    CheckpointFile,
    Exported,
    PretrainedTag,
    RandomWeights,
    Weights,
    parse_weights,
    render_clipmodel,
    render_metadata,
)

SHA256 = "ab" * 32


def build_exported(path: str, weights: Weights, *, tensors: Tensors | None = None) -> Exported:
    tensors = tensors or Tensors(image_size=224, dimension=512)
    return Exported(
        path=Path(path),
        sha256=SHA256,
        size_bytes=351_285_667,
        tensors=tensors,
        metadata=render_metadata(
            architecture="ViT-B-32",
            weights=weights,
            quick_gelu=False,
            tensors=tensors,
            checkpoint_sha256=None,
        ),
        parameters=87_849_216,
        activation="GELU",
        unchanged=False,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("laion2b_s34b_b79k", PretrainedTag("laion2b_s34b_b79k")),
        ("laion2b-s34b-b79k", PretrainedTag("laion2b_s34b_b79k")),
        ("OpenAI", PretrainedTag("openai")),
        ("weights.pt", CheckpointFile(Path("weights.pt"))),
        ("weights.SafeTensors", CheckpointFile(Path("weights.SafeTensors"))),
        ("folder/openai", CheckpointFile(Path("folder/openai"))),
        ("/openai", CheckpointFile(Path("/openai"))),
    ],
)
def test_a_tag_is_told_from_a_file(given: str, expected: Weights) -> None:
    assert parse_weights(given) == expected


def test_metadata_names_the_weights_and_no_folder() -> None:
    metadata = render_metadata(
        architecture="ViT-B-32",
        weights=CheckpointFile(Path("/home/me/secret-project/weights.pt")),
        quick_gelu=True,
        tensors=Tensors(image_size=224, dimension=512),
        checkpoint_sha256=SHA256,
    )
    assert metadata == {
        "clipmodel.architecture": "ViT-B-32",
        "clipmodel.checkpoint_sha256": SHA256,
        "clipmodel.dimension": "512",
        "clipmodel.image_size": "224",
        "clipmodel.quickgelu": "true",
        "clipmodel.weights": "file weights.pt",
    }


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (RandomWeights(7), True),
        (PretrainedTag("random_tag"), False),
        (CheckpointFile(Path("random.pt")), False),
    ],
)
def test_random_weights_are_recognised(weights: Weights, *, expected: bool) -> None:
    exported = build_exported("a/1/model.onnx", weights)
    assert is_random(exported.metadata) is expected
    assert ("RANDOM WEIGHTS" in render_clipmodel(exported)) is expected


def test_metadata_of_another_program_is_not_random() -> None:
    assert is_random({}) is False


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        ("model_repository/openclip_vit_b32/1/model.onnx", "openclip-vit-b32", 1),
        ("model_repository/openclip_vit_b32/12/model.onnx", "openclip-vit-b32", 12),
        ("model.onnx", "model", 1),
        ("somewhere/My Model.onnx", "my-model", 1),
        ("repository/0/model.onnx", "model", 1),
        ("repository/32b/2/model.onnx", "clip-32b", 2),
        ("___/3/model.onnx", "openclip", 3),
        (f"{'long_' * 30}/4/model.onnx", ("long-" * 10).strip("-"), 4),
    ],
)
def test_the_snippet_is_a_clipmodel_for_this_file(path: str, name: str, version: int) -> None:
    snippet = yaml.safe_load(render_clipmodel(build_exported(path, PretrainedTag("openai"))))
    assert snippet["apiVersion"] == "clipmodel.dev/v1alpha1"
    assert snippet["kind"] == "ClipModel"
    assert snippet["metadata"] == {"name": name}
    assert len(name) <= 50
    (entry,) = snippet["spec"]["versions"]
    assert entry["version"] == version
    assert entry["source"]["sha256"] == SHA256


def test_only_one_size_is_served() -> None:
    def is_served(image_size: int, dimension: int) -> bool:
        tensors = Tensors(image_size=image_size, dimension=dimension)
        return build_exported("model.onnx", RandomWeights(0), tensors=tensors).is_served

    assert is_served(224, 512)
    assert not is_served(224, 768)
    assert not is_served(336, 512)
