"""The order of `clipmodel embed`: load the file to compare with, connect, preprocess and embed batch by batch, compare."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipmodel_client.compare import DirectModel, compare
from clipmodel_client.embed import normalise
from clipmodel_client.errors import MissingProgramError
from clipmodel_client.preprocess import load_all
from clipmodel_client.report import Result
from clipmodel_client.target import Target, connect

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """What is embedded, by which model, and how it is compared and shown."""

    target: Target
    photos: list[Path]
    compared_file: Path | None
    tolerance: float
    normalised: bool
    timeout_s: float
    """For each request."""
    batch_size: int
    """Most images in one request; a ClipModel may take fewer."""


def run_embed(request: EmbedRequest) -> Result:
    """Embed, and compare where asked to.

    Raises:
        ClientError: of the kind that says what the user does next.

    """
    try:
        import numpy as np
        import PIL  # noqa: F401 - here for one clear message about the extra
    except ImportError as error:
        raise MissingProgramError(
            f"The library {error.name} is not installed.", advice="pip install 'clipmodel-operator[client]'"
        ) from error

    # Before anything is sent: a wrong file name should not cost a port-forward.
    direct = DirectModel(request.compared_file) if request.compared_file else None
    served: list[NDArray[np.float32]] = []
    expected: list[NDArray[np.float32]] = []
    with connect(request.target, timeout_s=request.timeout_s, batch_size=request.batch_size) as (embedder, batch):
        size = embedder.signature().image_size
        for start in range(0, len(request.photos), batch):  # never more than one batch of images in memory
            images = load_all(request.photos[start : start + batch], size=size)
            served.append(embedder.embed(images))
            if direct:
                expected.append(direct.embed(images))
        model = embedder.model
    raw = np.concatenate(served)
    comparison = None
    if direct:
        comparison = compare(
            raw, np.concatenate(expected), tolerance=request.tolerance, random_weights=direct.random_weights
        )
    return Result(
        photos=request.photos,
        model=model,
        raw=raw,
        shown=normalise(raw) if request.normalised else raw,
        normalised=request.normalised,
        comparison=comparison,
    )
