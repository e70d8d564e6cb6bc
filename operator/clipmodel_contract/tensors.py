"""The tensors of a tower: what a model file must have, what Triton's config says of it, and what a client sends and gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

DTYPE: Final = "FP32"
"""Of both tensors, as Triton and KServe call it; ONNX says FLOAT."""
CHANNELS: Final = 3
BATCH: Final = -1
"""A dimension that is open, as Triton writes it."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """`input` is FP32 [batch, 3, size, size], RGB in [0, 1]; `output` is FP32 [batch, dimension], not normalised.

    The defaults are ViT-B-32's.
    """

    input_name: str = "image"
    output_name: str = "embedding"
    image_size: int = 224
    """Height and width, in pixels."""
    dimension: int = 512
    """Values of an embedding."""

    @property
    def input_shape(self) -> list[int]:
        return [BATCH, CHANNELS, self.image_size, self.image_size]

    @property
    def output_shape(self) -> list[int]:
        return [BATCH, self.dimension]

    def to_signature(self) -> dict[str, Any]:
        """Give names, types and shapes as a sync's report has them."""
        return {
            "input": {"name": self.input_name, "dtype": DTYPE, "shape": self.input_shape},
            "output": {"name": self.output_name, "dtype": DTYPE, "shape": self.output_shape},
        }
