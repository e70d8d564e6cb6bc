"""Says whether what is served equals ONNX Runtime run directly on the file.

The served vectors are not bit-equal to a direct call (the composition of a batch changes the last digits, up
to 5e-6 measured on ViT-B-32), so the comparison has a tolerance. The same file, preprocessed images and
batches go through ONNX Runtime on the CPU of this machine.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipmodel_client.errors import EmbeddingError, MissingProgramError, UsageError
from clipmodel_contract.model_metadata import is_random

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the served embeddings are from the direct ones."""

    max_abs_diff: float
    min_cosine: float
    tolerance: float
    random_weights: bool

    @property
    def passed(self) -> bool:
        """Whether the largest difference is within the tolerance. The cosine is for people, and decides nothing."""
        return self.max_abs_diff <= self.tolerance


def compare(
    served: "NDArray[np.float32]",
    direct: "NDArray[np.float32]",
    *,
    tolerance: float,
    random_weights: bool = False,
) -> Comparison:
    """Compare two sets of embeddings that are not normalised, row by row.

    Raises:
        EmbeddingError: the shapes differ: another model.

    """
    import numpy as np

    from clipmodel_client.embed import normalise

    if served.shape != direct.shape:
        raise EmbeddingError(
            f"The server gave {list(served.shape)} and the file {list(direct.shape)}: these are two models.",
            advice="Compare with the file that is served; kubectl get clipmodel NAME -o yaml has its sha256.",
        )
    cosine = (normalise(served).astype(np.float64) * normalise(direct)).sum(axis=1)
    return Comparison(
        max_abs_diff=float(np.abs(served.astype(np.float64) - direct).max()),
        min_cosine=float(cosine.min()),
        tolerance=tolerance,
        random_weights=random_weights,
    )


class DirectModel:
    """The ONNX file, run on this machine.

    Raises:
        MissingProgramError: onnxruntime is not installed.
        UsageError: the file is missing, or ONNX Runtime cannot load it.

    """

    def __init__(self, path: Path) -> None:
        # Before the import: PyPI's onnxruntime sends telemetry from Linux otherwise.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingProgramError(
                "The library onnxruntime, which --compare runs, is not installed.",
                advice="pip install 'clipmodel-operator[client,sync]'",
            ) from error
        if not path.is_file():
            raise UsageError(
                f"--compare: there is no file {path}.", advice="Make it with clipmodel export --output FILE."
            )
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base but Exception
            raise UsageError(
                f"--compare: ONNX Runtime cannot load {path}: {' '.join(str(error).split())[:200]}.",
                advice="Pass an ONNX file as clipmodel export writes it.",
            ) from error

    @property
    def random_weights(self) -> bool:
        """Whether the exporter marked the weights as random."""
        properties: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return is_random(properties)

    def embed(self, images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Embed one batch of preprocessed images.

        Raises:
            UsageError: the file takes other images.

        """
        try:
            vectors: NDArray[np.float32] = self._session.run(None, {self._session.get_inputs()[0].name: images})[0]
        except Exception as error:  # its exceptions have no base but Exception
            raise UsageError(
                f"--compare: ONNX Runtime cannot run the file: {' '.join(str(error).split())[:200]}.",
                advice="Pass an ONNX file as clipmodel export writes it.",
            ) from error
        return vectors
