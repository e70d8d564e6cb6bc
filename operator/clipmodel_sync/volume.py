"""How bytes become a version directory that is complete and verified, or not there, whatever is killed when.

The layout and its reasons: docs/spec/sync.md. Everything new is made below `staging/`, flushed to the disk,
and moved into place by one `rename(2)`; the state file comes last, so that what it says is true.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.volume_layout import MODEL_FILE, VersionLayout
from clipmodel_sync.errors import SyncError
from clipmodel_sync.units import format_bytes

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 1 << 20
# Directories, the state file and the report take some blocks too.
MARGIN_BYTES: Final = 4 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# File systems without locks (some FUSE ones): there, names that no other run has keep the bytes right.
_NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# File systems on which a directory cannot be flushed.
_NO_DIRECTORY_SYNC: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)

FILE_MODE: Final = 0o444
DIRECTORY_MODE: Final = 0o755


@dataclass(frozen=True, slots=True)
class Staging:
    """A directory that only this run knows; `version` and `candidate` in it will be moved into place."""

    path: Path

    @property
    def version_directory(self) -> Path:
        return self.path / "version"

    @property
    def file(self) -> Path:
        return self.version_directory / MODEL_FILE

    @property
    def candidate_directory(self) -> Path:
        return self.path / "candidate"

    @property
    def replaced(self) -> Path:
        return self.path / "replaced"


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


@contextlib.contextmanager
def staged(layout: VersionLayout) -> Iterator[Staging]:
    """Give an empty staging directory, and remove what is left of it on every way out."""
    remove_tree(layout.staging)
    make_directory(layout.staging)
    try:
        # A name that no other run has: where locks do not work, no two runs write into one file.
        own = Path(tempfile.mkdtemp(dir=layout.staging))
        make_directory(Staging(own).version_directory)
        yield Staging(own)
    finally:
        remove_tree(layout.staging)


class StagedFile:
    """The model's file while it is being written: counts and digests what goes in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self._digest.update(view[:written])
            self.size_bytes += written
            view = view[written:]

    def restart(self) -> None:
        """Forget what was written: the server sends the file from its start again."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def finish(self) -> None:
        """Make it what it will always be: on the disk, and read-only."""
        os.fchmod(self._descriptor, FILE_MODE)
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def publish(layout: VersionLayout, staging: Staging) -> None:
    """Move the staged version into place, instead of a damaged one if there is one."""
    prepare_repository(layout)
    staging.version_directory.chmod(DIRECTORY_MODE)
    sync_directory(staging.version_directory)
    if layout.version_directory.exists():
        layout.version_directory.rename(staging.replaced)
    staging.version_directory.rename(layout.version_directory)
    sync_directory(layout.model_directory)


def publish_candidate(layout: VersionLayout, staging: Staging) -> None:
    """Give the version's bytes the name that traffic never reaches, unless they have it."""
    candidate = layout.candidate_directory / MODEL_FILE
    with contextlib.suppress(FileNotFoundError):
        if candidate.samefile(layout.version_file):
            return
    remove_version(layout.candidate_directory, staging)
    make_directory(layout.candidate_directory.parent)
    make_directory(staging.candidate_directory)
    (staging.candidate_directory / MODEL_FILE).hardlink_to(layout.version_file)
    sync_directory(staging.candidate_directory)
    staging.candidate_directory.rename(layout.candidate_directory)
    sync_directory(layout.candidate_directory.parent)


def prepare_repository(layout: VersionLayout) -> None:
    """Make what Triton's pods mount."""
    make_directory(layout.model_directory)
    make_directory(layout.configs_directory)


def remove_version(directory: Path, staging: Staging) -> None:
    """Remove a version directory: out of the repository by one rename, then from the disk."""
    if directory.exists():
        removed = Path(tempfile.mkdtemp(dir=staging.path)) / "removed"
        directory.rename(removed)
        sync_directory(directory.parent)
        remove_tree(removed)


def digest_file(path: Path) -> tuple[str, int] | None:
    """Return the SHA-256 and the size of a file, or None where there is none."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while data := file.read(CHUNK_BYTES):
                digest.update(data)
                size += len(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return digest.hexdigest(), size


def write_state(layout: VersionLayout, text: str) -> None:
    """Write the state file whole or not at all; leave it alone where it says the same."""
    if read_state(layout) == text:
        return
    make_directory(layout.state_file.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{layout.version}-", dir=layout.state_file.parent)
    try:
        try:
            remaining = memoryview(text.encode())
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        Path(name).rename(layout.state_file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync_directory(layout.state_file.parent)


def read_state(layout: VersionLayout) -> str | None:
    """Return the state file's text, or None where there is none."""
    try:
        return layout.state_file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def make_directory(path: Path) -> None:
    """Make a directory and its parents: readable whatever the umask says, their names on the disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(DIRECTORY_MODE)
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
