"""What can go wrong in a sync, and whether waiting would fix it.

The reasons are the table in docs/spec/sync.md. A message names what was found, what was expected and what
to do; it becomes a condition's message, so it holds no secret, no query string of a URL, and no number that
differs from try to try except sizes.
"""

from enum import Enum, IntEnum
from typing import Never, assert_never


class ExitCode(IntEnum):
    """What the Job's podFailurePolicy reads."""

    SYNCED = 0
    BUG = 1
    USAGE = 2
    FAILED = 10
    RETRY = 11


class Result(Enum):
    """The three ends of a sync, as the report words them."""

    SYNCED = "Synced"
    FAILED = "Failed"
    RETRY = "Retry"


class Reason(Enum):
    """Why a sync did not end in Synced. The order is the one of the contract's table."""

    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_FORBIDDEN = "SourceForbidden"
    SOURCE_REJECTED = "SourceRejected"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    DOWNLOAD_TRUNCATED = "DownloadTruncated"
    DIGEST_MISMATCH = "DigestMismatch"
    NOT_ONNX = "NotOnnx"
    SIGNATURE_MISMATCH = "SignatureMismatch"
    PROOF_FAILED = "ProofFailed"
    VERSION_IMMUTABLE = "VersionImmutable"
    VOLUME_FULL = "VolumeFull"
    VOLUME_BUSY = "VolumeBusy"
    VOLUME_FAILED = "VolumeFailed"
    INTERRUPTED = "Interrupted"
    INVALID_ARGUMENTS = "InvalidArguments"
    INTERNAL_ERROR = "InternalError"

    @property
    def result(self) -> Result:
        """Say whether trying again, with nothing changed, can help."""
        match self:
            case (
                Reason.SOURCE_UNAVAILABLE
                | Reason.DOWNLOAD_TRUNCATED
                | Reason.VOLUME_FULL
                | Reason.VOLUME_BUSY
                | Reason.VOLUME_FAILED
                | Reason.INTERRUPTED
                | Reason.INTERNAL_ERROR
            ):
                return Result.RETRY
            case _:
                return Result.FAILED

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that goes with the result; usage and bugs have their own."""
        match self:
            case Reason.INVALID_ARGUMENTS:
                return ExitCode.USAGE
            case Reason.INTERNAL_ERROR:
                return ExitCode.BUG
            case _:
                pass
        match self.result:
            case Result.FAILED:
                return ExitCode.FAILED
            case Result.RETRY:
                return ExitCode.RETRY
            case Result.SYNCED:
                return _no_reason_is_synced(self)
        assert_never(self.result)


class SyncError(Exception):
    """A sync that ended otherwise than Synced, with the words for the user."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Interrupted(BaseException):
    """SIGTERM. No Exception: what turns a library's exceptions into ours must let it pass."""


def truncated(shown: str, *, found_bytes: int, expected_bytes: int | None) -> SyncError:
    """Return the error of a source that ended too early."""
    announced = "its length was not announced" if expected_bytes is None else f"expected {expected_bytes}"
    return SyncError(
        Reason.DOWNLOAD_TRUNCATED,
        f"{shown} ended after {found_bytes} bytes, {announced}. Check the source if this stays.",
    )


def _no_reason_is_synced(reason: Reason) -> Never:
    raise AssertionError(f"{reason} stands for a failure, yet its result is Synced")
