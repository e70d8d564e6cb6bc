"""The golden images are those of docs/spec/sync.md: recomputed here pixel by pixel, as the page words it."""

import hashlib
import math

import numpy as np
import pytest

from clipmodel_export.golden import render_golden_images


@pytest.mark.parametrize("size", [14, 32, 224])
def test_pixels_follow_the_page(size: int) -> None:
    images = render_golden_images(3, size=size)
    assert images.shape == (3, 3, size, size)
    assert images.dtype == np.float32
    for k in range(3):
        drawn = hashlib.shake_128(f"clipmodel-golden-v1/{k}".encode()).digest(588 + 3 * size * size)
        for c, y, x in [(0, 0, 0), (1, size - 1, 0), (2, size // 2, size - 1), (1, 5, 7)]:
            block = drawn[c * 196 + math.floor(14 * y / size) * 14 + math.floor(14 * x / size)]
            noise = drawn[588 + c * size * size + y * size + x]
            assert images[k, c, y, x] == (3 * block + noise) / 1024
    assert images.min() >= 0
    assert images.max() < 1


def test_images_differ() -> None:
    first, second = render_golden_images(2, size=32)
    assert np.abs(first - second).max() > 0.5
