"""An ONNX file without its large weights: all that checks of its structure look at, at a thousandth of its size.

A parser copies every byte of a model, some of them twice, and nobody looks at the numbers before they are proven. So the file's
fields are walked here (protobuf's wire format), and where a weight's bytes are as many as its shape and type say, which is all that the ONNX
checker asks of them, an empty tensor of the same name and type takes its place. Everything else is copied as it is, and nothing is judged:
what cannot be walked is given back whole, for the parser to say what is wrong with it.
"""

import io
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

# Smaller ones stay: shapes and axes are among them.
_LEAST_BYTES: Final = 1 << 12
# A weight has one for each dimension and a few more; a tensor with one for each element is no raw one.
_MOST_FIELDS: Final = 64

# Numbers of fields, from onnx.proto.
_MODEL_GRAPH: Final = 7
_GRAPH_INITIALIZER: Final = 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _DOC_STRING = 1, 2, 8, 9, 12
_VARINT, _LENGTH = 0, 2
_FIXED_BYTES: Final = {1: 8, 5: 4}
_WEIGHT_FIELDS: Final = {
    _DIMS: (_VARINT, _LENGTH),
    _DATA_TYPE: (_VARINT,),
    _NAME: (_LENGTH,),
    _RAW_DATA: (_LENGTH,),
    _DOC_STRING: (_LENGTH,),
}
_MAX_VARINT_BYTES: Final = 10
# TensorProto.DataType: FLOAT, UINT8, INT8, INT32, INT64, FLOAT16, DOUBLE, BFLOAT16.
_WIDTHS: Final = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 10: 2, 11: 8, 16: 2}
_NO_ELEMENTS: Final = bytes([_DIMS << 3 | _VARINT, 0])


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a field of a message lies in the file: its key, its payload, its end."""

    number: int
    wire_type: int
    start: int
    payload: int
    end: int


def read_skeleton(path: Path) -> bytes:
    """Give the file's bytes without large weights; all of them where it is built otherwise than expected."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return _rewrite(file, 0, size, number=_MODEL_GRAPH, by=_graph)
        except ValueError:
            file.seek(0)
            return file.read()


def _graph(file: BinaryIO, start: int, end: int) -> bytes:
    return _rewrite(file, start, end, number=_GRAPH_INITIALIZER, by=_tensor)


def _rewrite(file: BinaryIO, start: int, end: int, *, number: int, by: Callable[[BinaryIO, int, int], bytes]) -> bytes:
    """Copy a message, but for the messages in its fields `number`, which `by` writes."""
    written = io.BytesIO()
    for field in _fields(file, start, end):
        if (field.number, field.wire_type) == (number, _LENGTH):
            content = by(file, field.payload, field.end)
            written.write(bytes([number << 3 | _LENGTH]) + _encode(len(content)) + content)
        else:
            written.write(_read(file, field.start, field.end))
    return written.getvalue()


def _tensor(file: BinaryIO, start: int, end: int) -> bytes:
    if end - start < _LEAST_BYTES:
        return _read(file, start, end)
    fields = list(itertools.islice(_fields(file, start, end), _MOST_FIELDS + 1))
    if len(fields) > _MOST_FIELDS or not _is_weight(file, fields):
        return _read(file, start, end)
    kept = [f for f in fields if f.number not in (_DIMS, _RAW_DATA)]
    return b"".join(_read(file, f.start, f.end) for f in kept) + _NO_ELEMENTS


def _is_weight(file: BinaryIO, fields: list[_Field]) -> bool:
    """Say whether a tensor has raw bytes, as many as it should, and nothing that the checker would ask more about."""
    if not all(f.wire_type in _WEIGHT_FIELDS.get(f.number, ()) for f in fields):
        return False
    raw, data_type = ([f for f in fields if f.number == number] for number in (_RAW_DATA, _DATA_TYPE))
    if len(raw) != 1 or len(data_type) != 1:
        return False
    file.seek(data_type[0].payload)
    width = _WIDTHS.get(_varint(file), 0)
    return raw[0].end - raw[0].payload == width * math.prod(_dims(file, fields)) > 0


def _dims(file: BinaryIO, fields: list[_Field]) -> Iterator[int]:
    """Give the sizes, one in a field, or (packed) many."""
    for field in fields:
        if field.number == _DIMS:
            file.seek(field.payload)
            while file.tell() < field.end:
                yield _varint(file)


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[_Field]:
    """Walk a message. Raises ValueError where there is none."""
    position = start
    while position < end:
        file.seek(position)
        key = _varint(file)
        payload = file.tell()
        wire_type = key & 7
        if wire_type == _VARINT:
            _varint(file)
            after = file.tell()
        elif wire_type == _LENGTH:
            length = _varint(file)
            payload = file.tell()
            after = payload + length
        elif wire_type in _FIXED_BYTES:
            after = payload + _FIXED_BYTES[wire_type]
        else:
            raise ValueError("a field of a kind that ONNX does not use")
        if after > end:
            raise ValueError("a field that ends behind its message")
        yield _Field(number=key >> 3, wire_type=wire_type, start=position, payload=payload, end=after)
        position = after


def _varint(file: BinaryIO) -> int:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends within a number")
        value |= (byte[0] & 0x7F) << 7 * index
        if byte[0] < 0x80:
            return value
    raise ValueError("a number without an end")


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
