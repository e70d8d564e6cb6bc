"""The report of a sync, which is a Job's termination message, the volume's record of a version, and what the operator commits.

Written and read here alone, so that whatever the sync says, the operator understands. A termination message ends at 4,096 bytes, without a
word: what does not fit is left out when it is written, by a rule that the reader knows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from clipmodel_contract import golden

MAX_BYTES: Final = 4096
"""What Kubernetes keeps of a termination message."""
MAX_MESSAGE: Final = 256
"""Characters of a failure's message: it becomes a condition's."""
MAX_REASON: Final = 64
"""Characters of a failure's reason."""
# One FP16 vector in base64 and all around it still fit, also with tensor names of 64 characters (tested).
MAX_DIMENSION: Final = 1280
MAX_TENSOR_NAME: Final = 64


class ReportError(ValueError):
    """A text that is no report, or a record that no report can hold."""


class Result(StrEnum):
    """The three ends of a sync, as the report words them."""

    SYNCED = "Synced"
    FAILED = "Failed"
    RETRY = "Retry"


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A synced and proven version."""

    version: int
    sha256: str
    size_bytes: int
    signature: str
    """Tensor names, types and shapes, as canonical JSON."""
    vectors: tuple[str, ...]
    """Golden vectors, base64 of FP16."""

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "result": Result.SYNCED.value,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "signature": json.loads(self.signature),
            "golden": {"images": golden.IMAGES, "dtype": "float16", "vectors": list(self.vectors)},
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something is not as it was asked for: of one version, or (`version` is None) of none in particular."""

    reason: str
    message: str
    is_final: bool
    """Nothing changes until a person acts."""
    version: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            # 0: the arguments did not say which (docs/spec/sync.md).
            "version": self.version or 0,
            "result": (Result.FAILED if self.is_final else Result.RETRY).value,
            "reason": self.reason,
            "message": clip(self.message),
        }


def canonical_signature(signature: Mapping[str, Any]) -> str:
    """Give a signature as records hold it: equal signatures are equal texts."""
    return json.dumps(signature, sort_keys=True)


def render_report(outcome: VersionRecord | Failure) -> str:
    """Write a report of at most MAX_BYTES. Of a record whose golden vectors do not all fit, only the first ones are written.

    Raises ReportError where not even one vector fits.
    """
    if isinstance(outcome, Failure):
        return _dump(outcome.to_json())
    for count in range(len(outcome.vectors), 0, -1):
        text = _dump(dataclasses.replace(outcome, vectors=outcome.vectors[:count]).to_json())
        if len(text.encode()) <= MAX_BYTES:
            return text
    raise ReportError(f"the report of version {outcome.version} exceeds {MAX_BYTES} bytes, or has no golden vector")


def parse_report(text: str) -> VersionRecord | Failure:
    """Read a report: a termination message, a volume's record, or a part of the ConfigMap. Raises ReportError for what is none."""
    try:
        report: Mapping[str, Any] = json.loads(text)
        if report["result"] == Result.SYNCED:
            return _parse_record(report)
        return Failure(
            # From a volume or a pod: half a surrogate pair, say, is JSON, and no text that status could hold.
            reason=clip(str(report["reason"]))[:MAX_REASON],
            message=clip(str(report["message"])),
            is_final=report["result"] == Result.FAILED,
            version=int(report["version"]),
        )
    except ReportError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ReportError(f"not a sync report: {error!r}") from error


def clip(message: str) -> str:
    """Give a message on one line and within the limit of a status field."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def _parse_record(report: Mapping[str, Any]) -> VersionRecord:
    vectors = tuple(str(v) for v in report["golden"]["vectors"])
    if report["golden"]["images"] != golden.IMAGES or not vectors:
        raise ReportError(f"golden vectors are of {report['golden']['images']}, expected {golden.IMAGES}")
    for vector in vectors:
        golden.decode_vector(vector)
    return VersionRecord(
        version=int(report["version"]),
        sha256=str(report["sha256"]),
        size_bytes=int(report["bytes"]),
        signature=canonical_signature(report["signature"]),
        vectors=vectors,
    )


def _dump(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
