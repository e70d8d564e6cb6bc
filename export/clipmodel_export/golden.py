"""Which pictures does `--test` embed? Those of docs/spec/sync.md ("Golden images"), for any number of them.

The sync Job proves a model with images 0 and 1 of the same recipe; the two programs share the page, not code.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCKS = 14


def render_golden_images(count: int, *, size: int) -> "npt.NDArray[np.float32]":
    """Return FP32 `[count,3,size,size]` in [0,1), the same for ever."""
    import numpy as np

    images = np.empty((count, 3, size, size), dtype=np.float32)
    block_of_pixel = BLOCKS * np.arange(size) // size
    coarse_bytes = 3 * BLOCKS * BLOCKS
    for index in range(count):
        drawn = hashlib.shake_128(f"clipmodel-golden-v1/{index}".encode()).digest(coarse_bytes + 3 * size * size)
        values = np.frombuffer(drawn, dtype=np.uint8).astype(np.float32)
        blocks = values[:coarse_bytes].reshape(3, BLOCKS, BLOCKS)
        noise = values[coarse_bytes:].reshape(3, size, size)
        images[index] = (3 * blocks[:, block_of_pixel][:, :, block_of_pixel] + noise) / 1024
    return images
