"""What the exporter writes into an ONNX file's `metadata_props`, and whoever shows a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ARCHITECTURE_KEY: Final = "clipmodel.architecture"
"""OpenCLIP's name of the architecture."""
WEIGHTS_KEY: Final = "clipmodel.weights"
"""Where the weights came from: `pretrained TAG`, `file NAME`, or `random seed=N`."""
RANDOM: Final = "random"
"""The first word of the weights of a model for demos, whose embeddings mean nothing."""


def is_random(metadata: Mapping[str, str]) -> bool:
    """Say whether a model's weights were never trained."""
    return metadata.get(WEIGHTS_KEY, "").split(" ")[0] == RANDOM
