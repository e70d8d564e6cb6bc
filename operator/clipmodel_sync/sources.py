"""Where the bytes come from: one URI, understood once, before anything is fetched."""

from dataclasses import dataclass
from pathlib import Path

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.source_uri import HttpUri, SourceUriError, parse_source_uri
from clipmodel_sync.errors import SyncError


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """A file in a PersistentVolumeClaim that is mounted into the Job at `root`."""

    root: Path
    path: Path
    shown: str


def parse_source(uri: str, *, source_root: Path) -> HttpUri | ClaimSource:
    """Return the source that a URI names.

    Raises:
        SyncError: SourceRejected.

    """
    try:
        found = parse_source_uri(uri)
    except SourceUriError as error:
        raise SyncError(SyncReason.SOURCE_REJECTED, str(error)) from error
    if isinstance(found, HttpUri):
        return found
    root = source_root / found.claim
    return ClaimSource(root=root, path=root / found.path, shown=found.shown)
