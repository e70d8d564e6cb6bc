"""From staging into Triton's model repository, and out of it: by one rename each."""

import contextlib
import hashlib
import tempfile
from pathlib import Path

from clipmodel_contract.volume_layout import MODEL_FILE, VersionLayout
from clipmodel_sync.volume import directories
from clipmodel_sync.volume.directories import make_directory, remove_tree, sync_directory
from clipmodel_sync.volume.staging import CHUNK_BYTES, Staging


def publish(layout: VersionLayout, staging: Staging) -> None:
    """Move the staged version into place, instead of a damaged one if there is one."""
    prepare_repository(layout)
    staging.version_directory.chmod(directories.MODE)
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
