"""Golden images and the golden check: is this the embedding that was proven at sync?

docs/spec/sync.md defines both. The sync Job makes the proof with this module, the operator checks each pod with it, and its code (without
docstrings and comments) is a part of the startup probe, which Python 3.10 and newer run in Triton containers: `make probe` after a change
of code here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence

IMAGES = "clipmodel-golden-v1"
IMAGE_COUNT = 2
MIN_COSINE = 0.9999
MAX_NORM_DEVIATION = 0.01
HEADER_LENGTH = "Inference-Header-Content-Length"
_BLOCKS = 14


class VectorError(ValueError):
    """A text that is no golden vector."""


class AnswerError(ValueError):
    """An answer that is not one FP32 tensor in KServe v2's binary form."""


@functools.lru_cache(maxsize=4)
def golden_image(index: int, size: int) -> bytes:
    """Make golden image `index` as little-endian FP32, shape [3, size, size], values in [0, 1), each exact."""
    blocks_length = 3 * _BLOCKS * _BLOCKS
    digest = hashlib.shake_128(f"{IMAGES}/{index}".encode("ascii")).digest(blocks_length + 3 * size * size)
    block_of = [i * _BLOCKS // size for i in range(size)]
    pixels = array("f")
    position = blocks_length
    for channel in range(3):
        for y in range(size):
            row = (channel * _BLOCKS + block_of[y]) * _BLOCKS
            noise = digest[position : position + size]
            pixels.extend((3 * digest[row + block_of[x]] + noise[x]) / 1024 for x in range(size))
            position += size
    if sys.byteorder == "big":
        pixels.byteswap()
    return pixels.tobytes()


def infer_request(image: bytes, *, input_name: str, output_name: str, size: int) -> tuple[bytes, int]:
    """Make the body of a KServe v2 inference request for one image, with binary tensors. Gives it and its JSON part's length in bytes."""
    return infer_batch_request((image,), input_name=input_name, output_name=output_name, size=size)


def infer_batch_request(images: Sequence[bytes], *, input_name: str, output_name: str, size: int) -> tuple[bytes, int]:
    """Make the body of one request for n images, each FP32 [3, size, size]: its input is [n, 3, size, size]. Gives it and its JSON part's length."""
    pixels, shape = b"".join(images), [len(images), 3, size, size]
    header = json.dumps({
        "inputs": [{"name": input_name, "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(pixels)}}],
        "outputs": [{"name": output_name, "parameters": {"binary_data": True}}],
    }).encode()  # fmt: skip
    return header + pixels, len(header)


def infer_response(body: bytes, header_length: int) -> tuple[float, ...]:
    """Read the one output of a KServe v2 answer whose JSON part is `header_length` bytes. Raises AnswerError for anything else."""
    return _read_output(body, header_length)[0]


def infer_batch_response(body: bytes, header_length: int, *, count: int) -> tuple[tuple[float, ...], ...]:
    """Read `count` embeddings, in the request's order, of an answer whose output is [count, values]. Raises AnswerError for anything else."""
    values, shape = _read_output(body, header_length)
    length = len(values) // count
    if not length or shape != [count, length]:
        raise AnswerError(f"not {count} embeddings: {len(values)} values of shape {shape}")
    return tuple(values[at : at + length] for at in range(0, len(values), length))


def _read_output(body: bytes, header_length: int) -> tuple[tuple[float, ...], object]:
    """Give the values of an answer's one output, and its shape as it is said there (None: it is not)."""
    try:
        output = json.loads(body[:header_length])["outputs"][0]
        data = body[header_length : header_length + output["parameters"]["binary_data_size"]]
        return struct.unpack(f"<{len(data) // 4}f", data), output.get("shape")
    except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
        raise AnswerError(f"not a KServe v2 answer with one FP32 output: {error!r}") from error


def encode_vector(vector: Iterable[float]) -> str:
    """Write a golden vector: base64 of little-endian FP16. Raises VectorError for a value beyond FP16 (65,504)."""
    values = tuple(vector)
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}e", *values)).decode("ascii")
    except (OverflowError, struct.error) as error:
        raise VectorError(f"not values of a golden vector: {error}") from error


def decode_vector(text: str) -> tuple[float, ...]:
    """Read a golden vector: base64 of little-endian FP16. Raises VectorError for what is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise VectorError(f"a golden vector is base64 of FP16 values: {error}") from error
    if not data or len(data) % 2:
        raise VectorError("a golden vector is base64 of FP16 values")
    return struct.unpack(f"<{len(data) // 2}e", data)


def cosine(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Give the cosine of two vectors of one length, neither of them zero."""
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def difference(served: tuple[float, ...], golden: tuple[float, ...], min_cosine: float = MIN_COSINE) -> str | None:
    """Say how a served embedding differs from the proven one; None where they are equal (docs/spec/sync.md, the golden check)."""
    if len(served) != len(golden):
        return f"{len(served)} values, expected {len(golden)}"
    # Of both: nothing would ever differ from a proven NaN.
    if not all(map(math.isfinite, (*served, *golden))):
        return "values that are not finite"
    norm, expected = math.hypot(*served), math.hypot(*golden)
    if norm == 0 or expected == 0:
        return "only zeros"
    found = cosine(served, golden)
    if found < min_cosine:
        return f"cosine {found:.4f} to the proven embedding, at least {min_cosine} expected"
    if abs(norm / expected - 1) > MAX_NORM_DEVIATION:
        return f"norm {norm:.4g}, expected {expected:.4g} within {MAX_NORM_DEVIATION:.0%}"
    return None
