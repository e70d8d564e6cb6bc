"""Embedding spaces: which versions' vectors can be compared with each other.

A space is named by the golden vectors of the first version in it, its anchor. A version within tolerance of an anchor is of that space;
comparing with the previous version instead would drift.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipmodel_contract import golden
from clipmodel_contract.report import VersionRecord


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """An anchor: golden vectors, base64 of FP16."""

    vectors: tuple[str, ...]

    @property
    def id(self) -> str:
        return hashlib.sha256("\n".join((golden.IMAGES, *self.vectors)).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return {"images": golden.IMAGES, "vectors": list(self.vectors)}


def read_spaces(stored: Sequence[Any]) -> tuple[EmbeddingSpace, ...]:
    """Read anchors. Raises KeyError, TypeError or ValueError for what is none."""
    spaces = tuple(EmbeddingSpace(tuple(str(v) for v in s["vectors"])) for s in stored)
    for space in spaces:
        for vector in space.vectors:
            golden.decode_vector(vector)
    return spaces


# A pass asks several times how near the same vectors are, and a cosine of 512 values is slow work for Python.
@functools.lru_cache(maxsize=256)
def _cosine(one: str, other: str) -> float:
    """Give the cosine of two golden vectors; -1 where there is none."""
    a, b = golden.decode_vector(one), golden.decode_vector(other)
    return golden.cosine(a, b) if len(a) == len(b) and any(a) and any(b) else -1.0


def similarity(record: VersionRecord, space: EmbeddingSpace) -> float:
    """Give the smallest cosine between a version's golden vectors and the anchor's; -1 where they have other sizes."""
    if len(record.vectors) != len(space.vectors):
        return -1.0
    return min(_cosine(a, b) for a, b in zip(record.vectors, space.vectors, strict=True))


def find_space(record: VersionRecord, spaces: Sequence[EmbeddingSpace], *, min_cosine: float) -> EmbeddingSpace | None:
    """Find the space that a version is of; None where it would open a new one."""
    return next((s for s in spaces if similarity(record, s) >= min_cosine), None)


def with_spaces(
    records: Sequence[VersionRecord], spaces: Sequence[EmbeddingSpace], *, min_cosine: float
) -> tuple[EmbeddingSpace, ...]:
    """Add an anchor for each version that is of no known space, lowest number first."""
    known = list(spaces)
    for record in sorted(records, key=lambda r: r.version):
        if find_space(record, known, min_cosine=min_cosine) is None:
            known.append(EmbeddingSpace(record.vectors))
    return tuple(known)
