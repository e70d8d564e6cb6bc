"""What a sync Job reported of a version: the proof that the operator commits, and hands to the startup probe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipmodel_operator.models import golden
from clipmodel_operator.models.failure import Failure


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A synced and proven version (docs/spec/sync.md, the report)."""

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
            "result": "Synced",
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "signature": json.loads(self.signature),
            "golden": {"images": golden.IMAGES, "dtype": "float16", "vectors": list(self.vectors)},
        }


def parse_report(text: str) -> VersionRecord | Failure:
    """Read a report, from a termination message or from the ConfigMap. Raises ValueError for what is none."""
    try:
        report: Mapping[str, Any] = json.loads(text)
        if report["result"] == "Synced":
            vectors = tuple(str(v) for v in report["golden"]["vectors"])
            if report["golden"]["images"] != golden.IMAGES or not vectors:
                raise ValueError(f"golden vectors are of {report['golden']['images']}, expected {golden.IMAGES}")
            for vector in vectors:
                golden.decode_vector(vector)
            return VersionRecord(
                version=int(report["version"]),
                sha256=str(report["sha256"]),
                size_bytes=int(report["bytes"]),
                signature=json.dumps(report["signature"], sort_keys=True),
                vectors=vectors,
            )
        return Failure(
            reason=str(report["reason"])[:64],
            message=str(report["message"])[:256],
            is_final=report["result"] == "Failed",
            version=int(report["version"]),
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a sync report: {error!r}") from error
