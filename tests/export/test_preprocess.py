"""What the client makes of a photograph is what OpenCLIP makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipmodel_client.preprocess import preprocess

pytestmark = [pytest.mark.export, pytest.mark.timeout(300)]


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (225, 224), (224, 224), (640, 221), (1001, 333), (7, 5)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_result_is_openclips_own_to_the_last_bit(size: tuple[int, int], mode: str) -> None:
    from open_clip.transform import image_transform

    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    theirs = image_transform(224, is_train=False, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))(image)
    np.testing.assert_array_equal(preprocess(image), theirs.numpy())
