"""What is asked of one sync: which bytes, which version, and which tensors they must have."""

from dataclasses import dataclass
from pathlib import Path

from clipmodel_contract.tensors import Tensors


@dataclass(frozen=True, slots=True)
class Request:
    """One version to bring onto the volume."""

    volume: Path
    source_root: Path
    model: str
    version: int
    uri: str
    sha256: str
    tensors: Tensors
    """Those that the ClipModel says the model has."""
