"""Directories that are really there, or really gone."""

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Final

MODE: Final = 0o755
# File systems on which a directory cannot be flushed.
_NO_DIRECTORY_SYNC: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)


def make_directory(path: Path) -> None:
    """Make a directory and its parents: readable whatever the umask says, their names on the disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(MODE)
        sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory and all in it, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def sync_directory(path: Path) -> None:
    """Have a directory's names on the disk: a rename that is not flushed can be undone by a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)
