"""What is asked of one sync: which bytes, which version, and which tensors they must have."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Contract:
    """The tensors that the `ClipModel` says the model has."""

    input_name: str
    image_size: int
    output_name: str
    dimension: int

    @property
    def input_shape(self) -> list[int]:
        """The input's shape; -1 is the batch."""
        return [-1, 3, self.image_size, self.image_size]

    @property
    def output_shape(self) -> list[int]:
        """The output's shape; -1 is the batch."""
        return [-1, self.dimension]


@dataclass(frozen=True, slots=True)
class Request:
    """One version to bring onto the volume."""

    volume: Path
    source_root: Path
    model: str
    version: int
    uri: str
    sha256: str
    contract: Contract
