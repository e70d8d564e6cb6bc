"""Where a version's bytes come from, in one URI: a web server's address, or a file in a PersistentVolumeClaim.

`PATTERN` is what the CRD says of it, so that the API server refuses at once what has another form; `parse_source_uri` begins with the same
pattern and then asks what a pattern cannot say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit, urlunsplit

MAX_LENGTH: Final = 1024
#: For Go's, Rust's and Python's regular expressions alike.
PATTERN: Final = r"^(https?://[^/\s]+/\S+|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^\s]+)$"
_FORM: Final = re.compile(PATTERN)
_CLAIM_SCHEME: Final = "pvc://"
_KNOWN: Final = "use https://HOST/PATH, http://HOST/PATH or pvc://CLAIM/PATH"


class Fault(StrEnum):
    """What is wrong with a URI."""

    FORM = "form"
    """It does not match `PATTERN`."""
    ADDRESS = "address"
    """Its host or port cannot be understood."""
    CREDENTIALS = "credentials"
    """It holds a user or a password, which everyone who may read the ClipModel would see."""
    PATH = "path"
    """It leads out of its claim, or to no file."""


class SourceUriError(ValueError):
    """A URI that names no source; the text says what to write, and shows no query, fragment or credentials."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class HttpUri:
    """A file behind a web server."""

    url: str
    shown: str
    """What messages may hold: no query, fragment or credentials."""


@dataclass(frozen=True, slots=True)
class ClaimUri:
    """A file in a PersistentVolumeClaim of the ClipModel's namespace."""

    claim: str
    path: PurePosixPath
    """Relative to the claim's root, without `..`."""

    @property
    def shown(self) -> str:
        """What messages may hold: all of it."""
        return f"{_CLAIM_SCHEME}{self.claim}/{self.path}"


def parse_source_uri(uri: str) -> HttpUri | ClaimUri:
    """Understand a URI. Raises SourceUriError."""
    if len(uri) > MAX_LENGTH:
        raise SourceUriError(Fault.FORM, f"the source's uri has {len(uri)} characters, at most {MAX_LENGTH} expected")
    if not _FORM.fullmatch(uri):
        raise SourceUriError(Fault.FORM, f"the source's uri{_scheme(uri)} cannot be understood: {_KNOWN}")
    return _parse_claim(uri) if uri.startswith(_CLAIM_SCHEME) else _parse_http(uri)


def _parse_claim(uri: str) -> ClaimUri:
    # No part of it is a query or is percent-encoded: whatever follows the claim is a file's name.
    claim, _, path = uri.removeprefix(_CLAIM_SCHEME).partition("/")
    relative = PurePosixPath(path.lstrip("/"))
    found = ClaimUri(claim, relative)
    if not relative.parts or ".." in relative.parts:
        raise SourceUriError(
            Fault.PATH, f"{found.shown} names no file in a claim: write pvc://CLAIM/PATH, without '..'"
        )
    return found


def _parse_http(uri: str) -> HttpUri:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises for what is no number, or too large
    except ValueError as error:
        raise SourceUriError(Fault.ADDRESS, f"the source's uri cannot be understood: {_KNOWN}") from error
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if "@" in parts.netloc:
        raise SourceUriError(
            Fault.CREDENTIALS, f"the uri of {shown} holds credentials: take them out, they would be visible to all"
        )
    if not parts.hostname:
        raise SourceUriError(Fault.ADDRESS, f"{shown} names no host: {_KNOWN}")
    return HttpUri(url=uri, shown=shown)


def _scheme(uri: str) -> str:
    """Name the scheme of a URI, where it has one that may be shown."""
    scheme, separator, _ = uri.partition("://")
    return f" of the kind {scheme!r}" if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,15}", scheme) else ""
