"""The two pictures that every version has to embed, and when two embeddings are the same.

The pictures come out of a hash function: nothing is stored, and every program that reads docs/spec/sync.md
makes the same ones. Coarse blocks give them something to see (pure noise averages out in the first layer),
noise on top makes every pixel count.
"""

import hashlib

import numpy as np
import numpy.typing as npt

NAME = "clipmodel-golden-v1"
COUNT = 2
GRID = 14

# The golden check (docs/spec/sync.md). What Triton serves differs from one ONNX Runtime call by up to 5e-6.
MIN_COSINE = 0.9999
MAX_NORM_DEVIATION = 0.01

Floats = npt.NDArray[np.float32]


def golden_image(index: int, size: int) -> Floats:
    """Return golden image `index` as FP32 [3, size, size], values in [0, 1)."""
    blocks_length = 3 * GRID * GRID
    data = hashlib.shake_128(f"{NAME}/{index}".encode("ascii")).digest(blocks_length + 3 * size * size)
    blocks = np.frombuffer(data, np.uint8, blocks_length).reshape(3, GRID, GRID).astype(np.float32)
    noise = np.frombuffer(data, np.uint8, offset=blocks_length).reshape(3, size, size).astype(np.float32)
    block_of_pixel = np.arange(size) * GRID // size
    coarse = blocks[:, block_of_pixel][:, :, block_of_pixel]
    # At most 3 * 255 + 255 = 1020, and 1024 is a power of two: exact in FP32.
    image: Floats = (np.float32(3) * coarse + noise) / np.float32(1024)
    return image


def golden_images(size: int) -> Floats:
    """Return all golden images as one FP32 batch [2, 3, size, size]."""
    return np.stack([golden_image(index, size) for index in range(COUNT)])


def is_same_embedding(one: npt.ArrayLike, other: npt.ArrayLike) -> bool:
    """Say whether two vectors pass the golden check: finite, cosine, ratio of norms."""
    left, right = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if left.shape != right.shape or not (np.isfinite(left).all() and np.isfinite(right).all()):
        return False
    left_norm, right_norm = float(np.linalg.norm(left)), float(np.linalg.norm(right))
    if not left_norm or not right_norm:
        return False
    cosine = float(left @ right) / (left_norm * right_norm)
    return cosine >= MIN_COSINE and abs(left_norm / right_norm - 1) <= MAX_NORM_DEVIATION
