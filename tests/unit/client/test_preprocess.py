"""What the model sees of a photograph."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipmodel_client.errors import ImageError
from clipmodel_client.preprocess import _resize_shorter_side, load, load_all, preprocess

RED, WHITE = (255, 0, 0), (1.0, 1.0, 1.0)
PHOTOS = sorted((Path(__file__).parents[3] / "demo" / "photos").glob("*.jpg"))


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


@given(width=st.integers(1, 600), height=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_every_size_becomes_a_float32_square_in_the_unit_interval(width: int, height: int) -> None:
    if max(width, height) > 100 * min(width, height):
        return
    pixels = preprocess(picture(width, height))
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == np.float32
    assert pixels.flags["C_CONTIGUOUS"]
    assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize(
    ("size", "resized"), [((451, 300), (336, 224)), ((300, 451), (224, 336)), ((224, 900), (224, 900))]
)
def test_the_longer_side_is_cut_off_to_whole_pixels(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert _resize_shorter_side(picture(*size), size=224).size == resized


def test_the_centre_is_cut_out_of_the_longer_side() -> None:
    image = Image.new("RGB", (672, 224), (0, 255, 0))
    image.paste(RED, (0, 0, 224, 224))
    image.paste(RED, (448, 0, 672, 224))
    np.testing.assert_array_equal(preprocess(image)[:, 112, 112], (0, 1, 0))
    np.testing.assert_array_equal(preprocess(image)[0], 0)


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    upright = Image.new("RGB", (300, 300))
    upright.paste(RED, (0, 0, 300, 150))  # red above
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right to see it": what a phone held upright writes
    upright.rotate(90, expand=True).save(tmp_path / "phone.png", exif=exif)
    pixels = load(tmp_path / "phone.png")
    assert pixels[0, 50].min() == 1
    assert pixels[0, 180].max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_are_white(mode: str) -> None:
    image = Image.new("RGBA", (300, 300), (0, 0, 0, 0)).convert(mode)
    if mode == "P":
        image = Image.new("P", (300, 300), 0)
        image.info["transparency"] = 0
    np.testing.assert_allclose(preprocess(image)[:, 100, 100], WHITE)


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    np.testing.assert_array_equal(preprocess(picture(300, 260, "RGBA")), preprocess(picture(300, 260)))


def test_sixteen_bit_greyscale_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 224, dtype=np.uint16)[None].repeat(224, axis=0)
    Image.fromarray(ramp).save(tmp_path / "xray.png")
    pixels = load(tmp_path / "xray.png")
    np.testing.assert_allclose(pixels[0, 100], np.linspace(0, 1, 224), atol=1 / 255)
    np.testing.assert_array_equal(pixels[0], pixels[2])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_colour_modes_are_converted(mode: str) -> None:
    grey = Image.new("RGB", (260, 240), (128, 128, 128))
    pixels = preprocess(grey.quantize(4) if mode == "P" else grey.convert(mode))
    assert pixels.shape == (3, 224, 224)
    if mode != "1":  # black and white only: dithered
        np.testing.assert_allclose(pixels, 128 / 255, atol=0.01)


def test_greyscale_has_three_equal_channels() -> None:
    pixels = preprocess(picture(300, 300, "L"))
    np.testing.assert_array_equal(pixels[0], pixels[1])


def test_files_are_stacked_in_their_order() -> None:
    assert [photo.name for photo in PHOTOS] == ["cat.jpg", "coffee.jpg"]
    stack = load_all(PHOTOS, size=64)
    assert stack.shape == (2, 3, 64, 64)
    np.testing.assert_array_equal(stack[1], load(PHOTOS[1], size=64))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: there is no such file"):
        load(tmp_path / "gone.jpg")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes\.jpg is not an image"):
        load(tmp_path / "notes.jpg")


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_a_cut_file_is_an_error_and_no_half_picture(name: str, tmp_path: Path) -> None:
    picture(300, 300).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="cannot be read"):
        load(tmp_path / name)


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        load(tmp_path)


def test_a_strip_is_refused_instead_of_being_blown_up() -> None:
    with pytest.raises(ImageError, match="1 x 5000 pixels: too elongated"):
        preprocess(Image.new("RGB", (1, 5000)))


@pytest.mark.parametrize(("mode", "value"), [("F", 0), ("I", 1_000_000)])
def test_a_format_without_a_known_white_is_refused(mode: str, value: int) -> None:
    with pytest.raises(ImageError, match=r"white is unknown"):
        preprocess(Image.new(mode, (300, 300), value))
