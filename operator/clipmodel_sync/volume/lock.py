"""One sync of a version at a time."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.volume_layout import VersionLayout
from clipmodel_sync.errors import SyncError
from clipmodel_sync.volume.directories import make_directory

# File systems without locks (some FUSE ones): there, names that no other run has keep the bytes right.
_NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def locked(
    layout: VersionLayout, *, patience_seconds: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Be the only sync of this version: a Job that was replaced may still be ending.

    The kernel lets go of the lock of a run that was killed.

    Raises:
        SyncError: VolumeBusy after `patience_seconds`.

    """
    make_directory(layout.lock_file.parent)
    # Never removed: a file that is removed while another run waits for it would be two locks.
    descriptor = os.open(layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait_for_lock(descriptor, layout, patience_seconds, sleep)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(
    descriptor: int, layout: VersionLayout, patience_seconds: float, sleep: Callable[[float], None]
) -> None:
    interval, waited = 0.5, 0.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if waited >= patience_seconds:
                raise SyncError(
                    SyncReason.VOLUME_BUSY,
                    f"another sync of version {layout.version} is at work on the volume: it must end first.",
                ) from error
            sleep(interval)
            waited += interval
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return
        else:
            return
