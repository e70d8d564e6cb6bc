"""How a file comes out of a PersistentVolumeClaim that is mounted into the Job."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.source_uri import ClaimUri
from clipmodel_sync.errors import SyncError, truncated
from clipmodel_sync.progress import Progress
from clipmodel_sync.volume.faults import check_space, translate_errors
from clipmodel_sync.volume.staging import CHUNK_BYTES, StagedFile


def copy(source: ClaimUri, *, file: StagedFile, volume: Path, source_root: Path, clock: Callable[[], float]) -> None:
    """Write the claim's file into the staged one.

    The claim is mounted in `source_root`, under its name; `volume` is the root of the volume that must have room.

    Raises:
        SyncError: with a reason of the source or of the volume.

    """
    progress = Progress(source.shown, clock=clock)
    descriptor = _open(source, source_root / source.claim)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_a_file(source)
        check_space(volume, found.st_size)
        while data := _read(descriptor, source):
            with translate_errors(needed_bytes=found.st_size):
                file.write(data)
            progress.update(file.size_bytes, found.st_size)
    finally:
        os.close(descriptor)
    if file.size_bytes < found.st_size:
        raise truncated(source.shown, found_bytes=file.size_bytes, expected_bytes=found.st_size)
    progress.finish(file.size_bytes)


def _open(source: ClaimUri, root: Path) -> int:
    try:
        # A link inside the claim must not lead into another claim or into this container.
        path = (root / source.path).resolve(strict=True)
        if not path.is_relative_to(root.resolve()):
            raise SyncError(
                SyncReason.SOURCE_REJECTED, f"{source.shown} is a link out of its claim: name the file itself."
            )
        # O_NONBLOCK: a pipe would wait for its writer for ever.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SyncError(
            SyncReason.SOURCE_NOT_FOUND,
            f"{source.shown}: no such file in the claim. Correct the uri or put the file there.",
        ) from error
    except RuntimeError as error:  # a loop of links
        raise _not_a_file(source) from error
    except OSError as error:
        raise _unreadable(source, error) from error


def _read(descriptor: int, source: ClaimUri) -> bytes:
    try:
        return os.read(descriptor, CHUNK_BYTES)
    except OSError as error:
        raise _unreadable(source, error) from error


def _not_a_file(source: ClaimUri) -> SyncError:
    return SyncError(SyncReason.SOURCE_NOT_FOUND, f"{source.shown} is not a file: name the ONNX file in it.")


def _unreadable(source: ClaimUri, error: OSError) -> SyncError:
    if isinstance(error, PermissionError):
        return SyncError(
            SyncReason.SOURCE_FORBIDDEN,
            f"{source.shown} may not be read by uid 1000, gid 1000: change its mode or owner.",
        )
    return SyncError(
        SyncReason.SOURCE_UNAVAILABLE, f"{source.shown} cannot be read now: {os.strerror(error.errno or 0)}."
    )
