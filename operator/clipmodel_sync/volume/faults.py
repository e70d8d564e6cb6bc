"""What a volume can refuse, in the words of a report: no room, or an operation that fails."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clipmodel_contract.reasons import SyncReason
from clipmodel_sync.errors import SyncError
from clipmodel_sync.units import format_bytes

log = logging.getLogger(__name__)

# Directories, the state file and the report take some blocks too.
MARGIN_BYTES: Final = 4 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def translate_errors(*, needed_bytes: int | None = None) -> Iterator[None]:
    """Turn what the volume's file system says into our words.

    Raises:
        SyncError: VolumeFull or VolumeFailed.

    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full(needed_bytes) from error
        # Which file it was goes into the log only: names in staging differ from try to try.
        log.error("%s: %s", error.filename, os.strerror(error.errno or 0))  # noqa: TRY400
        raise SyncError(
            SyncReason.VOLUME_FAILED,
            f"the volume refused an operation: {os.strerror(error.errno or 0)}."
            " It must be writable for uid and gid 1000, and know hard links.",
        ) from error


def full(needed_bytes: int | None) -> SyncError:
    """Return the error of a volume without room."""
    needed = f"{format_bytes(needed_bytes)} ({needed_bytes} bytes)" if needed_bytes else "more than is free"
    return SyncError(
        SyncReason.VOLUME_FULL,
        f"the volume has too little space: this version needs {needed}. Enlarge spec.storage.size.",
    )


def check_space(root: Path, needed_bytes: int) -> None:
    """Refuse before fetching what would not fit anyway.

    Raises:
        SyncError: VolumeFull.

    """
    found = os.statvfs(root)
    if found.f_bavail * found.f_frsize < needed_bytes + MARGIN_BYTES:
        raise full(needed_bytes)
