"""Turns a photograph into what the model takes: float32, CHW, RGB, values in [0,1].

Geometry and numbers are OpenCLIP's own for inference: the shorter side is resized to `size` with Pillow's
bicubic filter, the centre is cut out, and bytes are divided by 255. CLIP's mean and standard deviation are
inside the ONNX graph and must not be applied here as well.

For an RGB or greyscale file the result equals OpenCLIP's transform bit for bit (a test holds it to that). In
everything else the rule is "what a viewer shows": OpenCLIP ignores the EXIF orientation, drops alpha (a
transparent logo becomes black on black), resizes palette images with nearest neighbour, and 16-bit greyscale
is clipped to white. Colour profiles are ignored, as OpenCLIP does.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from clipmodel_client.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SIZE = 224

# A strip of 1 x 10,000 pixels would be resized to 224 x 2,240,000 (1.5 GB) only to cut 224 x 224 out of it.
_MAX_ASPECT_RATIO = 100

_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_MAX_SIXTEEN_BIT = 65_535
_SIXTEEN_TO_EIGHT = 257  # 65,535 / 255: full scale to full scale

_ADVICE = "Give a JPEG, PNG, WebP or GIF file of a photograph; convert other formats to PNG first."


def load(path: str | Path, *, size: int = SIZE) -> "NDArray[np.float32]":
    """Read and preprocess one file.

    Raises:
        ImageError: the file is missing, is not an image, or cannot be converted.

    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return preprocess(image, size=size, name=str(path))
    except FileNotFoundError as error:
        raise ImageError(f"{path}: there is no such file.", advice="Check the path.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image that Pillow can read.", advice=_ADVICE) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} has too many pixels to be decoded safely.",
            advice="Make it smaller first; the model sees 224 x 224.",
        ) from error
    except (
        OSError,
        ValueError,
        SyntaxError,
    ) as error:  # truncated or damaged; Pillow's PNG reader raises SyntaxError
        raise ImageError(f"{path} cannot be read: {error}.", advice=_ADVICE) from error


def load_all(paths: Iterable[str | Path], *, size: int = SIZE) -> "NDArray[np.float32]":
    """Read and preprocess files into one `[n, 3, size, size]` array."""
    import numpy as np

    return np.stack([load(path, size=size) for path in paths])


def preprocess(image: "Image.Image", *, size: int = SIZE, name: str = "the image") -> "NDArray[np.float32]":
    """Turn an open image into `[3, size, size]`, float32, in [0,1].

    Raises:
        ImageError: the image is too elongated, or its mode has no conversion to RGB.

    """
    import numpy as np

    width, height = image.size
    if min(width, height) < 1 or max(width, height) > _MAX_ASPECT_RATIO * min(width, height):
        raise ImageError(
            f"{name} is {width} x {height} pixels: too elongated to cut a square out of it.",
            advice=f"The longer side may be at most {_MAX_ASPECT_RATIO} times the shorter one: cut it first.",
        )
    square = _centre_crop(_resize_shorter_side(_as_shown(image, name=name), size=size), size=size)
    pixels = np.asarray(square, dtype=np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def _as_shown(image: "Image.Image", *, name: str) -> "Image.Image":
    """Give the first frame as RGB, upright, opaque and with 8 bits per channel."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode in _WIDE_MODES:
        upright = _to_eight_bits(upright, name=name)
    if upright.mode == "RGB" and "transparency" not in upright.info:
        return upright
    if upright.has_transparency_data:
        # White below, as an image viewer or a browser shows it.
        colours = upright.convert("RGBA")
        paper = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, colours).convert("RGB")
    try:
        return upright.convert("RGB")
    except ValueError as error:
        raise ImageError(
            f"{name} has the pixel format {upright.mode}, which is not a colour picture.", advice=_ADVICE
        ) from error


def _to_eight_bits(image: "Image.Image", *, name: str) -> "Image.Image":
    """Scale 16-bit greyscale; Pillow's own conversion clips every value over 255 to white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if image.mode == "F" or values.min() < 0 or values.max() > _MAX_SIXTEEN_BIT:
        raise ImageError(f"{name} holds 32-bit values, whose white is unknown.", advice=_ADVICE)
    return Image.fromarray(((values + _SIXTEEN_TO_EIGHT // 2) // _SIXTEEN_TO_EIGHT).astype(np.uint8))


def _resize_shorter_side(image: "Image.Image", *, size: int) -> "Image.Image":
    from PIL import Image

    width, height = image.size
    if min(width, height) == size:
        return image
    # The longer side is cut off, not rounded: so does torchvision, and one pixel moves the crop.
    target = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    return image.resize(target, Image.Resampling.BICUBIC)


def _centre_crop(image: "Image.Image", *, size: int) -> "Image.Image":
    width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
