"""Which way a fetch goes: by the kind of its URI."""

from pathlib import Path

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.source_uri import ClaimUri, HttpUri, SourceUriError, parse_source_uri
from clipmodel_sync.errors import SyncError
from clipmodel_sync.sources import http, pvc
from clipmodel_sync.sources.options import FetchOptions
from clipmodel_sync.volume.staging import StagedFile


def parse_source(uri: str) -> HttpUri | ClaimUri:
    """Return the source that a URI names.

    Raises:
        SyncError: SourceRejected.

    """
    try:
        return parse_source_uri(uri)
    except SourceUriError as error:
        raise SyncError(SyncReason.SOURCE_REJECTED, str(error)) from error


def fetch(
    source: HttpUri | ClaimUri, *, file: StagedFile, volume: Path, source_root: Path, options: FetchOptions
) -> bool:
    """Write the source's bytes into the staged file; say whether they were joined from several answers.

    `volume` is the volume's root, which must have room for them; below `source_root` claims are mounted, each under its name.

    Raises:
        SyncError: with a reason of the source or of the volume.

    """
    match source:
        case HttpUri():
            return http.Download(source, file=file, volume=volume, options=options).run()
        case ClaimUri():
            pvc.copy(source, file=file, volume=volume, source_root=source_root, clock=options.clock)
            return False
