"""Whether the model really embeds: ONNX Runtime (CPU) runs the golden images before Triton sees the file."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from clipmodel_contract import golden
from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.tensors import Tensors
from clipmodel_sync.errors import SyncError

if TYPE_CHECKING:
    import onnxruntime

Floats = npt.NDArray[np.float32]

# Relative to a vector's length. The same picture in other batches differs by about 1e-6 in FP32; a model that
# mixes its batch differs by far more.
BATCH_TOLERANCE: Final = 1e-3
# Each picture alone, then both in a batch of another size, in other places and other company.
MIXED_BATCH: Final = (1, 0, 0, 1, 0)
# Left alone, ONNX Runtime takes a thread for each core of the node, whatever the container's share is. And one
# number everywhere: how work is split changes last digits, and the same bytes should say the same.
THREADS: Final = 2
_LARGEST: Final = float(np.finfo(np.float16).max)


def golden_images(size: int) -> Floats:
    """Return all golden images as one FP32 batch [2, 3, size, size]."""
    content = b"".join(golden.golden_image(index, size) for index in range(golden.IMAGE_COUNT))
    return np.frombuffer(content, "<f4").reshape(golden.IMAGE_COUNT, 3, size, size)


def prove(path: Path, tensors: Tensors) -> Floats:
    """Return the embeddings of the golden images, FP32 [2, dimension].

    Raises:
        SyncError: ProofFailed.

    """
    session = _load(path)
    images = golden_images(tensors.image_size)
    alone = np.concatenate([_run(session, images[index : index + 1], tensors) for index in range(golden.IMAGE_COUNT)])
    _check_values(alone)
    mixed = _run(session, images[list(MIXED_BATCH)], tensors)
    for row, index in zip(mixed, MIXED_BATCH, strict=True):
        if not _is_near(row, alone[index]):
            raise _failed(
                "a picture's embedding depends on the others in its batch",
                "export the model in evaluation mode",
            )
    return alone


def _check_values(vectors: Floats) -> None:
    if not np.isfinite(vectors).all():
        raise _failed("an embedding holds values that are not finite", "export it again from sound weights")
    if not vectors.any(axis=1).all():
        raise _failed("an embedding is all zero", "export the model again from sound weights")
    if _is_near(vectors[0], vectors[1]):
        raise _failed("two different pictures get the same embedding", "export the model with its weights")
    # The report and the golden check hold them as float16.
    if np.abs(vectors).max() > _LARGEST:
        raise _failed(f"an embedding holds values beyond float16's {_LARGEST:,.0f}", "scale it down in the graph")
    if any(_is_changed_by_float16(row) for row in vectors):
        raise _failed("an embedding's values are too small for float16", "scale it up in the graph")


def _is_changed_by_float16(vector: Floats) -> bool:
    """Say whether what the report can hold of an embedding fails the golden check against the embedding."""
    exact = tuple(vector.tolist())
    return golden.difference(golden.decode_vector(golden.encode_vector(exact)), exact) is not None


def _load(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        raise _failed(
            "ONNX Runtime cannot load the model", "export it with standard operators", said=error, path=path
        ) from error


def _run(session: "onnxruntime.InferenceSession", images: Floats, tensors: Tensors) -> Floats:
    try:
        [found] = session.run([tensors.output_name], {tensors.input_name: images})
    except Exception as error:
        raise _failed(
            f"ONNX Runtime cannot run the model on a batch of {len(images)}",
            "export it with a batch of any size",
            said=error,
        ) from error
    vectors: Floats = np.asarray(found)
    expected = (len(images), tensors.dimension)
    if vectors.shape != expected:
        raise _failed(
            f"the output's shape is {list(vectors.shape)}, expected {list(expected)}",
            f"export it with {tensors.dimension} values for each picture",
        )
    return vectors


def _is_near(one: Floats, other: Floats) -> bool:
    left, right = one.astype(np.float64), other.astype(np.float64)
    # Written so that NaN is not near to anything.
    return bool(np.linalg.norm(left - right) <= BATCH_TOLERANCE * np.linalg.norm(right))


def _failed(found: str, advice: str, *, said: Exception | None = None, path: Path | None = None) -> SyncError:
    words = str(said).strip() if said else ""
    if path is not None:
        words = words.replace(str(path), path.name)
    return SyncError(SyncReason.PROOF_FAILED, f"{found}: {advice}." + (f" It says: {words}" if words else ""))
