"""The state file: the report of the last successful sync of a version, which says that the version is whole."""

import contextlib
import os
import tempfile
from pathlib import Path

from clipmodel_contract.volume_layout import VersionLayout
from clipmodel_sync.volume.directories import make_directory, sync_directory


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
