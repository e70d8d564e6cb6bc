"""What can go wrong in a sync.

Reasons, and whether waiting helps, are clipmodel_contract's. A message names what was found, what was expected and what
to do; it becomes a condition's message, so it holds no secret, no query string of a URL, and no number that
differs from try to try except sizes.
"""

from clipmodel_contract.reasons import SyncReason


class SyncError(Exception):
    """A sync that ended otherwise than Synced, with the words for the user."""

    def __init__(self, reason: SyncReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Interrupted(BaseException):
    """SIGTERM. No Exception: what turns a library's exceptions into ours must let it pass."""


def truncated(shown: str, *, found_bytes: int, expected_bytes: int | None) -> SyncError:
    """Return the error of a source that ended too early."""
    announced = "its length was not announced" if expected_bytes is None else f"expected {expected_bytes}"
    return SyncError(
        SyncReason.DOWNLOAD_TRUNCATED,
        f"{shown} ended after {found_bytes} bytes, {announced}. Check the source if this stays.",
    )
