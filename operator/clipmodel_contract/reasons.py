"""Why a sync did not end in a version on the volume, and whether waiting helps: the table of docs/spec/sync.md.

The operator passes these on as reasons of conditions, beside its own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class SyncReason(StrEnum):
    """A reason of a failed sync, in the order of the page."""

    SOURCE_NOT_FOUND = "SourceNotFound"
    """HTTP 404 or 410; no such file in the claim."""
    SOURCE_FORBIDDEN = "SourceForbidden"
    """HTTP 401 or 403; no permission to read the file."""
    SOURCE_REJECTED = "SourceRejected"
    """Any other HTTP 4xx that no waiting mends; a URI that cannot be understood."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """The server fails or wants to be asked later; no connection, no DNS name, timeout."""
    DOWNLOAD_TRUNCATED = "DownloadTruncated"
    """The file ended before its announced length."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The file is complete and has another SHA-256."""
    NOT_ONNX = "NotOnnx"
    """The ONNX parser or checker rejects it, or its weights are in other files."""
    SIGNATURE_MISMATCH = "SignatureMismatch"
    """Other tensor names, types or shapes."""
    PROOF_FAILED = "ProofFailed"
    """ONNX Runtime cannot run it, or its embeddings of the golden images cannot serve as a proof."""
    VERSION_IMMUTABLE = "VersionImmutable"
    """The volume holds this version with another digest."""
    VOLUME_FULL = "VolumeFull"
    """No space left, or less than the file's announced size."""
    VOLUME_BUSY = "VolumeBusy"
    """Another Job works on this version and did not end in time."""
    VOLUME_FAILED = "VolumeFailed"
    """The volume refuses an operation: not writable, no hard links, an I/O error."""
    INTERRUPTED = "Interrupted"
    """SIGTERM."""
    INVALID_ARGUMENTS = "InvalidArguments"
    """Wrong usage of the command."""
    INTERNAL_ERROR = "InternalError"
    """A bug."""

    @property
    def is_final(self) -> bool:
        """Whether nothing changes until a person acts; otherwise the same try may succeed later."""
        return self not in _MENDED_BY_WAITING


_MENDED_BY_WAITING: Final = frozenset({
    SyncReason.SOURCE_UNAVAILABLE,
    SyncReason.DOWNLOAD_TRUNCATED,
    SyncReason.VOLUME_FULL,
    SyncReason.VOLUME_BUSY,
    SyncReason.VOLUME_FAILED,
    SyncReason.INTERRUPTED,
    SyncReason.INTERNAL_ERROR,
})  # fmt: skip
#: A person would mend the source itself, which changes nothing that the operator sees.
AT_SOURCE: Final = frozenset({SyncReason.SOURCE_NOT_FOUND, SyncReason.SOURCE_FORBIDDEN, SyncReason.SOURCE_REJECTED})
