"""Golden images and the golden check: is this the embedding that was proven at sync?

docs/spec/sync.md defines both. Standard library only and no input or output: rendering puts this file's text, followed by
templates/probe_main.py, into the ConfigMap, where the startup probe runs it in the Triton container; the operator imports it to check each pod.
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

IMAGES = "clipmodel-golden-v1"
IMAGE_COUNT = 2
MIN_COSINE = 0.9999
MAX_NORM_DEVIATION = 0.01
HEADER_LENGTH = "Inference-Header-Content-Length"
_BLOCKS = 14


@functools.lru_cache(maxsize=4)
def golden_image(index: int, size: int) -> bytes:
    """Make golden image `index` as little-endian FP32, CHW, `3 * size * size` values in [0, 1)."""
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
    """Make the body of a KServe v2 inference request for one image, with binary tensors. Gives it and its JSON part's length."""
    header = json.dumps({
        "inputs": [{"name": input_name, "shape": [1, 3, size, size], "datatype": "FP32", "parameters": {"binary_data_size": len(image)}}],
        "outputs": [{"name": output_name, "parameters": {"binary_data": True}}],
    }).encode()  # fmt: skip
    return header + image, len(header)


def infer_response(body: bytes, header_length: int) -> tuple[float, ...]:
    """Read the one output of a KServe v2 answer with binary tensors. Raises ValueError for anything else."""
    try:
        output = json.loads(body[:header_length])["outputs"][0]
        data = body[header_length : header_length + output["parameters"]["binary_data_size"]]
        return struct.unpack(f"<{len(data) // 4}f", data)
    except (KeyError, IndexError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"not a KServe v2 answer with one FP32 output: {error!r}") from error


def decode_vector(text: str) -> tuple[float, ...]:
    """Read a golden vector: base64 of little-endian FP16. Raises ValueError for what is none."""
    data = base64.b64decode(text, validate=True)
    if not data or len(data) % 2:
        raise ValueError("a golden vector is base64 of FP16 values")
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
