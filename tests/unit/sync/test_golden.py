"""The golden images and the golden check are those of docs/spec/sync.md, and the operator's are the same."""

import hashlib

import numpy as np
import pytest

from clipmodel_operator.models import golden as operators
from clipmodel_sync import golden


@pytest.mark.parametrize("size", [14, 15, 224])
@pytest.mark.parametrize("index", [0, 1])
def test_a_pixel_is_what_the_contract_says(index: int, size: int) -> None:
    data = hashlib.shake_128(f"clipmodel-golden-v1/{index}".encode()).digest(588 + 3 * size * size)
    image = golden.golden_image(index, size)
    assert image.shape == (3, size, size)
    assert image.dtype == np.float32
    for c, y, x in [(0, 0, 0), (2, size - 1, size - 1), (1, size // 3, size // 2), (2, 0, size - 1)]:
        block = data[196 * c + 14 * (14 * y // size) + 14 * x // size]
        noise = data[588 + (c * size + y) * size + x]
        assert image[c, y, x] == (3 * block + noise) / 1024
    assert 0 <= image.min() < image.max() < 1


@pytest.mark.parametrize("size", [16, 224, 336])
def test_the_operator_makes_the_same_pictures(size: int) -> None:
    for index in range(golden.COUNT):
        assert golden.golden_image(index, size).astype("<f4").tobytes() == operators.golden_image(index, size)


def test_the_pictures_never_change() -> None:
    # Every golden vector that is on a volume somewhere was made from these bytes.
    content = golden.golden_images(224).astype("<f4").tobytes()
    assert hashlib.sha256(content).hexdigest() == "abeab97ffc2134eecbc62be55b2a3955bea362c488b366d6c51fb466bf6a3794"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([3.0, 4.0], True),
        ([3.02, 4.0], True),
        ([3.029, 4.039], True),
        ([3.05, 4.06], False),
        ([3.2, 4.0], False),
        ([-3.0, -4.0], False),
        ([0.0, 0.0], False),
        ([float("nan"), 4.0], False),
        ([float("inf"), 4.0], False),
        ([3.0, 4.0, 0.0], False),
    ],
)
def test_the_golden_check(other: list[float], *, same: bool) -> None:
    assert golden.is_same_embedding([3.0, 4.0], other) is same
    assert (operators.difference(tuple(other), (3.0, 4.0)) is None) is same
