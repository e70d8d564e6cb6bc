"""Shows embeddings: as a table for people, as JSON or .npy for programs.

Standard output carries the result and nothing else; what people should know besides (warnings, the comparison
beside .npy) goes to standard error.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipmodel_client.compare import Comparison
from clipmodel_client.embed import cosines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

RANDOM_WEIGHTS_NOTE = "The weights of this model are random: its cosines say nothing about the pictures."

_FIRST_VALUES = 4
_MATRIX_LIMIT = 16  # columns of a wider matrix do not fit a screen


@dataclass(frozen=True, slots=True)
class Result:
    """The embeddings of some photographs."""

    photos: list[Path]
    model: str
    raw: "NDArray[np.float32]"
    shown: "NDArray[np.float32]"  # raw, or normalised
    normalised: bool
    comparison: Comparison | None


def format_json(result: Result) -> str:
    """Give everything, vectors included, as one JSON document."""
    import numpy as np

    norms = np.linalg.norm(result.raw.astype(np.float64), axis=1)
    document: dict[str, object] = {
        "model": result.model,
        "normalised": result.normalised,
        "embeddings": [
            # float32 through its shortest decimal form: a float64 would print digits that are not there
            {
                "photo": str(photo),
                "dimension": len(vector),
                "norm": float(norm),
                "embedding": [float(str(x)) for x in vector],
            }
            for photo, norm, vector in zip(result.photos, norms, result.shown, strict=True)
        ],
    }
    if result.comparison:
        document["comparison"] = {
            "maxAbsDiff": result.comparison.max_abs_diff,
            "minCosine": result.comparison.min_cosine,
            "tolerance": result.comparison.tolerance,
            "passed": result.comparison.passed,
            "randomWeights": result.comparison.random_weights,
        }
    return json.dumps(document)


def format_npy(result: Result) -> bytes:
    """Give the vectors as a .npy file, one row per photograph, float32."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, result.shown, allow_pickle=False)
    return buffer.getvalue()


def print_table(result: Result, console: "Console") -> None:
    """Show each embedding in one line, how alike they are, and the comparison."""
    from rich.table import Table

    labels = _labels(result.photos)
    table = Table(title=f"{result.model}: {len(labels)} embedding(s)", title_justify="left")
    table.add_column("photo")
    table.add_column("dimension", justify="right")
    table.add_column("norm", justify="right")
    table.add_column(f"first values ({'normalised' if result.normalised else 'raw'})")
    for label, raw, shown in zip(labels, result.raw, result.shown, strict=True):
        first = " ".join(f"{value:+.4f}" for value in shown[:_FIRST_VALUES])
        norm = float((raw.astype("float64") ** 2).sum() ** 0.5)
        table.add_row(label, str(len(shown)), f"{norm:.4f}", f"{first} …")
    console.print(table)
    if len(labels) > 1:
        _print_cosines(result, labels, console)
    if result.comparison:
        print_comparison(result.comparison, console)


def print_comparison(comparison: Comparison, console: "Console") -> None:
    """Say how the served embeddings compare with direct ONNX Runtime, and what they are worth."""
    console.print(describe(comparison), style=None if comparison.passed else "bold red", soft_wrap=True)
    if comparison.random_weights:
        console.print(RANDOM_WEIGHTS_NOTE, style="yellow", soft_wrap=True)


def describe(comparison: Comparison) -> str:
    """Say in one line how the served embeddings compare with direct ONNX Runtime."""
    word = "PASS" if comparison.passed else "OVER TOLERANCE"
    return (
        f"Compared with ONNX Runtime on the same file: {word}. "
        f"Largest difference {comparison.max_abs_diff:.2e} (tolerance {comparison.tolerance:.0e}), "
        f"smallest cosine {comparison.min_cosine:.8f}."
    )


def _print_cosines(result: Result, labels: list[str], console: "Console") -> None:
    from rich.table import Table

    if len(labels) > _MATRIX_LIMIT:
        console.print(
            f"(cosines are shown for up to {_MATRIX_LIMIT} photographs; take --output npy for more)",
            style="dim",
        )
        return
    table = Table(title="cosine", title_justify="left")
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right")
    for label, row in zip(labels, cosines(result.raw), strict=True):
        table.add_row(label, *(f"{value:.4f}" for value in row))
    console.print(table)


def _labels(photos: list[Path]) -> list[str]:
    """Name photographs by file name where that tells them apart."""
    from rich.markup import escape

    names = [photo.name for photo in photos]
    return [escape(name) for name in (names if len(set(names)) == len(names) else map(str, photos))]
