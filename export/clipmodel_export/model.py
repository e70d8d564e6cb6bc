"""The words of an export: what is asked for, what the file promises, what was made. Pure, nothing heavy."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipmodel_contract.model_metadata import ARCHITECTURE_KEY, RANDOM, WEIGHTS_KEY, is_random
from clipmodel_contract.tensors import BATCH, Tensors

DEFAULT_ARCHITECTURE = "ViT-B-32"
DEFAULT_PRETRAINED = "laion2b_s34b_b79k"
DEFAULT_OUTPUT = Path("model_repository/openclip_vit_b32/1/model.onnx")

BATCH_DIMENSION = "batch"

# What this release's operator serves; other architectures can be exported, not yet served.
SERVED = Tensors()

CHECKPOINT_SUFFIXES = frozenset({".bin", ".ckpt", ".npz", ".pt", ".pth", ".safetensors"})


@dataclass(frozen=True, slots=True)
class PretrainedTag:
    """Weights that OpenCLIP knows by name and fetches from the hub."""

    tag: str


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """Weights that the user brings."""

    path: Path


@dataclass(frozen=True, slots=True)
class RandomWeights:
    """No weights at all: right shapes, meaningless embeddings."""

    seed: int


Weights = PretrainedTag | CheckpointFile | RandomWeights


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One export, as the user asked for it; `quick_gelu` is None where the user did not say."""

    architecture: str
    weights: Weights
    output: Path
    quick_gelu: bool | None = None
    test: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the `--test` table."""

    name: str
    passed: bool
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made, or found already made."""

    path: Path
    sha256: str
    size_bytes: int
    tensors: Tensors
    metadata: Mapping[str, str]
    parameters: int
    activation: str
    unchanged: bool
    checks: tuple[CheckResult, ...] = ()

    @property
    def is_served(self) -> bool:
        """Whether this release's operator accepts a model with these tensors."""
        return self.tensors == SERVED

    @property
    def is_random(self) -> bool:
        return is_random(self.metadata)


def parse_weights(pretrained: str) -> PretrainedTag | CheckpointFile:
    """Tell a tag from a file: whatever has a folder or a checkpoint's suffix is a file."""
    path = Path(pretrained).expanduser()
    if len(path.parts) > 1 or path.suffix.lower() in CHECKPOINT_SUFFIXES:
        return CheckpointFile(path)
    # OpenCLIP's own spelling, so that two spellings of one tag make one file.
    return PretrainedTag(pretrained.lower().replace("-", "_"))


def render_origin(weights: Weights) -> str:
    """Name the weights for `clipmodel.weights`; no folder, so the same export has the same bytes anywhere."""
    match weights:
        case PretrainedTag(tag):
            return f"pretrained {tag}"
        case CheckpointFile(path):
            return f"file {path.name}"
        case RandomWeights(seed):
            return f"{RANDOM} seed={seed}"


def render_metadata(
    *,
    architecture: str,
    weights: Weights,
    quick_gelu: bool,
    tensors: Tensors,
    checkpoint_sha256: str | None,
) -> dict[str, str]:
    """Where the model came from, for its `metadata_props`."""
    metadata = {
        ARCHITECTURE_KEY: architecture,
        "clipmodel.dimension": str(tensors.dimension),
        "clipmodel.image_size": str(tensors.image_size),
        "clipmodel.quickgelu": "true" if quick_gelu else "false",
        WEIGHTS_KEY: render_origin(weights),
    }
    if checkpoint_sha256 is not None:
        metadata["clipmodel.checkpoint_sha256"] = checkpoint_sha256
    return metadata


def shape_in_file(shape: Sequence[int]) -> tuple[str | int, ...]:
    """Give a shape as the ONNX file has it: with a name for the batch."""
    return tuple(BATCH_DIMENSION if size == BATCH else size for size in shape)


def render_clipmodel(exported: Exported) -> str:
    """A `ClipModel` for this file, named after the repository that it lies in (`<model>/<N>/model.onnx`)."""
    version, folder = exported.path.parent.name, exported.path.parent.parent.name
    if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        version, folder = "1", exported.path.stem
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:50].strip("-") or "openclip"
    if not name[0].isalpha():
        name = f"clip-{name}"[:50].strip("-")
    lines = [
        "apiVersion: clipmodel.dev/v1alpha1",
        "kind: ClipModel",
        f"metadata: {{name: {name}}}",
        "spec:",
        "  profile: cpu",
        "  versions:",
        f"  - version: {version}",
        "    source:",
        f"      uri: https://models.example.com/{name}/{version}/model.onnx  # where you put the file",
        f"      sha256: {exported.sha256}",
    ]
    if exported.is_random:
        lines.insert(0, "# RANDOM WEIGHTS: for demos and tests only; these embeddings mean nothing.")
    return "\n".join(lines)
