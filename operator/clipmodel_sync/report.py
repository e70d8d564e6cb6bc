"""What a sync says about itself, so that the operator understands it and Kubernetes does not cut it.

A termination message ends at 4,096 bytes, without a word: what does not fit is left out here, by a rule that
the reader knows.
"""

import base64
import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from clipmodel_sync import golden
from clipmodel_sync.errors import Reason, Result
from clipmodel_sync.request import Contract

MAX_BYTES: Final = 4096
MAX_MESSAGE: Final = 256
# One FP16 vector in base64 and all around it still fit, also with tensor names of 64 characters (tested).
MAX_DIMENSION: Final = 1280
MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """The embeddings of the golden images, one row each."""

    vectors: golden.Floats


def render_success(*, version: int, sha256: str, size_bytes: int, contract: Contract, proof: Proof) -> str:
    """Return the report of a synced version; only the first golden vector where two do not fit."""
    vectors = [base64.b64encode(row.astype("<f2").tobytes()).decode("ascii") for row in proof.vectors]
    tensors = {
        "input": {"name": contract.input_name, "dtype": "FP32", "shape": contract.input_shape},
        "output": {"name": contract.output_name, "dtype": "FP32", "shape": contract.output_shape},
    }
    for count in range(len(vectors), 0, -1):
        text = _render(
            {
                "version": version,
                "result": Result.SYNCED.value,
                "sha256": sha256,
                "bytes": size_bytes,
                "signature": tensors,
                "golden": {"images": golden.NAME, "dtype": "float16", "vectors": vectors[:count]},
            }
        )
        if len(text.encode()) <= MAX_BYTES:
            return text
    raise ValueError(f"a report with a golden vector of {contract.dimension} values exceeds {MAX_BYTES} bytes")


def read_vectors(text: str) -> list[golden.Floats] | None:
    """Return the golden vectors of a report, or None where it has none that can be compared with today's."""
    try:
        recorded = json.loads(text)["golden"]
        if recorded["images"] != golden.NAME or not recorded["vectors"]:
            return None
        return [
            np.frombuffer(base64.b64decode(v, validate=True), "<f2").astype(np.float32) for v in recorded["vectors"]
        ]
    except (ValueError, LookupError, TypeError):
        return None


def render_failure(*, version: int, reason: Reason, message: str) -> str:
    """Return the report of a sync that did not end in Synced."""
    return _render(
        {"version": version, "result": reason.result.value, "reason": reason.value, "message": clip(message)}
    )


def clip(message: str) -> str:
    """Return the message on one line and within the limit of a status field."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def _render(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
