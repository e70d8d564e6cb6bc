"""What is not finished: a directory that one run has to itself, and in it the model's file while it is written."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipmodel_contract.volume_layout import MODEL_FILE, VersionLayout
from clipmodel_sync.volume.directories import make_directory, remove_tree

#: How much is read, digested and written at a time.
CHUNK_BYTES: Final = 1 << 20
FILE_MODE: Final = 0o444


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
