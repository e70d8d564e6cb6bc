"""Where the bytes come from: one URI, understood once, before anything is fetched."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from clipmodel_sync.errors import Reason, SyncError

_KNOWN: Final = "use https://, http:// or pvc://CLAIM/PATH"


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A file behind a web server. `shown` is what messages may hold: no query, fragment or credentials."""

    url: str
    shown: str


@dataclass(frozen=True, slots=True)
class ClaimSource:
    """A file in a PersistentVolumeClaim that is mounted into the Job."""

    root: Path
    path: Path
    shown: str


def parse_source(uri: str, *, source_root: Path) -> HttpSource | ClaimSource:
    """Return the source that a URI names.

    Raises:
        SyncError: SourceRejected.

    """
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises for what is no number
    except ValueError as error:
        raise SyncError(Reason.SOURCE_REJECTED, f"the source's uri cannot be understood: {_KNOWN}") from error
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    match parts.scheme:
        case "http" | "https":
            if not parts.hostname:
                raise SyncError(Reason.SOURCE_REJECTED, f"{shown} names no host: {_KNOWN}")
            if "@" in parts.netloc:
                raise SyncError(
                    Reason.SOURCE_REJECTED,
                    f"the uri of {shown} holds credentials: take them out, they would be visible to all",
                )
            return HttpSource(url=uri, shown=shown)
        case "pvc":
            return _parse_claim(parts.netloc, parts.path, shown=shown, source_root=source_root)
        case other:
            raise SyncError(
                Reason.SOURCE_REJECTED, f"a source of the kind {other or 'nothing'!r} is not known: {_KNOWN}"
            )


def _parse_claim(claim: str, path: str, *, shown: str, source_root: Path) -> ClaimSource:
    relative = PurePosixPath(path.lstrip("/"))
    if not claim or claim in (".", "..") or not relative.parts or ".." in relative.parts:
        raise SyncError(
            Reason.SOURCE_REJECTED, f"{shown} names no file in a claim: write pvc://CLAIM/PATH, without '..'"
        )
    root = source_root / claim
    return ClaimSource(root=root, path=root / relative, shown=shown)
