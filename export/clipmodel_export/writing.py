"""How a 350 MB file appears whole or not at all, and never over somebody else's.

It is written beside its place under a fixed hidden name (a killed export leaves one file, and the next run takes
it over), fsynced, and put in place by link(2), which, unlike rename(2), fails when another file has appeared
meanwhile.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipmodel_export.errors import OutputError, OutputExistsError

CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Staged:
    """A complete, synced file that is not yet in its place."""

    path: Path
    sha256: str
    size_bytes: int


def compute_sha256(path: Path) -> str:
    """Read the file once and return its digest in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def staged(content: bytes, output: Path, *, advance: Callable[[int], None] = lambda _: None) -> Iterator[Staged]:
    """Write `content` beside `output` and hand it over; what is not committed inside the block is removed.

    Raises:
        OutputError: it cannot be written, or another export is writing there now.

    """
    temporary = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise _translate(error, output, len(content)) from error
    with os.fdopen(descriptor, "r+b") as file:
        _lock(file.fileno(), temporary)
        try:
            try:
                file.truncate(0)
                digest = hashlib.sha256()
                view = chunk = memoryview(content)
                for start in range(0, len(view), CHUNK_BYTES):
                    chunk = view[start : start + CHUNK_BYTES]
                    digest.update(chunk)
                    file.write(chunk)
                    advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise _translate(error, output, len(content)) from error
            candidate = Staged(temporary, digest.hexdigest(), len(content))
            # A suspended generator keeps its locals alive: give the caller's 350 MB back while it verifies.
            del chunk, view, content
            yield candidate
        finally:
            temporary.unlink(missing_ok=True)


def commit(candidate: Staged, output: Path, *, force: bool) -> None:
    """Put the staged file in place.

    Raises:
        OutputExistsError: a file is there, and `force` was not given.
        OutputError: the file system refuses.

    """
    try:
        if force:
            candidate.path.replace(output)
        else:
            _link(candidate.path, output)
        # The name must survive a power cut as well as the bytes.
        folder = os.open(output.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise output_exists(output, "a file appeared there while the export ran") from error
    except OSError as error:
        raise _translate(error, output, candidate.size_bytes) from error


def output_exists(output: Path, what: str) -> OutputExistsError:
    """The error for a place that is taken; `what` says by what."""
    return OutputExistsError(
        f"{output} is left as it was: {what}.",
        advice="Add --force to replace it, or name another place with --output "
        "(a served version never changes: a new model is a new version number).",
    )


def _link(temporary: Path, output: Path) -> None:
    try:
        os.link(temporary, output)
    except OSError as error:
        # File systems without hard links (exFAT, some network shares): look, then rename.
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            raise
        if output.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(output)) from error
        temporary.rename(output)


def _lock(descriptor: int, temporary: Path) -> None:
    """Own the partial file, or say that another export does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its owner may have removed the name between our open and our lock: then we hold nothing that counts.
        mine = os.fstat(descriptor).st_ino == temporary.stat().st_ino
    except OSError:
        mine = False
    if not mine:
        raise OutputError(
            f"Another export is writing {temporary}.", advice="Wait for it to end, or name another --output."
        )


def _translate(error: OSError, output: Path, size_bytes: int) -> OutputError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"No room for {output}: it needs {size_bytes} bytes ({reason}).",
            advice="Free some space there, or name another place with --output.",
        )
    return OutputError(
        f"{output} cannot be written: {reason}.", advice="Name a place that you can write with --output."
    )
