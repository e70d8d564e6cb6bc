"""The pictures that `--test` embeds, as an array: the contract's golden images, as many as are wanted."""

from typing import TYPE_CHECKING

from clipmodel_contract.golden import golden_image

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def render_golden_images(count: int, *, size: int) -> "npt.NDArray[np.float32]":
    """Return golden images 0 to `count` - 1 as FP32 `[count,3,size,size]` in [0,1), the same for ever."""
    import numpy as np

    # A bytearray, because PyTorch warns of arrays that cannot be written. 24 ms an image of 224.
    content = bytearray().join(golden_image(index, size) for index in range(count))
    return np.frombuffer(content, dtype="<f4").reshape(count, 3, size, size)
