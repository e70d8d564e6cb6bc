"""How a file comes from a web server, which can fail in all the ways they do.

What waiting can mend is tried again here, up to three times, from where it broke off if the server can:
`Range` with `If-Range`, so that a file that was changed in between is sent from its start.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import exceptions as http_errors

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.source_uri import HttpUri
from clipmodel_sync.errors import SyncError, truncated
from clipmodel_sync.progress import Progress
from clipmodel_sync.sources.options import FetchOptions
from clipmodel_sync.volume.faults import check_space, translate_errors
from clipmodel_sync.volume.staging import CHUNK_BYTES, StagedFile

MAX_REDIRECTS: Final = 10
# A server that asks for more patience than this gets it from the Job's own backoff.
MAX_PAUSE_SECONDS: Final = 20.0

_RETRIED: Final = (SyncReason.SOURCE_UNAVAILABLE, SyncReason.DOWNLOAD_TRUNCATED)
_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class Download:
    """One file on its way from a server into the staged file."""

    def __init__(self, source: HttpUri, *, file: StagedFile, volume: Path, options: FetchOptions) -> None:
        self._source = source
        self._file = file
        self._volume = volume
        self._options = options
        self._progress = Progress(source.shown, clock=options.clock)
        # What names the content that we have a part of.
        self._validator: str | None = None
        self._pause_seconds = 0.0
        self._is_joined = False

    def run(self) -> bool:
        """Fetch the file; say whether it was joined from several answers.

        Raises:
            SyncError: with a reason of the source or of the volume.

        """
        for number in range(1, self._options.tries + 1):
            self._pause_seconds = 0.0
            try:
                self._try()
            except SyncError as error:
                if error.reason not in _RETRIED or number == self._options.tries:
                    raise
                self._options.sleep(min(max(self._pause_seconds, number), MAX_PAUSE_SECONDS))
            else:
                break
        self._progress.finish(self._file.size_bytes)
        return self._is_joined

    def _try(self) -> None:
        headers = {"Accept-Encoding": "identity", "User-Agent": "clipmodel-sync"}
        if self._file.size_bytes and self._validator:
            headers |= {"Range": f"bytes={self._file.size_bytes}-", "If-Range": self._validator}
        with _open(self._source, headers=headers, options=self._options) as response:
            match response.status:
                case HTTPStatus.PARTIAL_CONTENT if _continues(response, self._file.size_bytes):
                    self._is_joined = True
                case HTTPStatus.OK:
                    self._file.restart()
                    self._validator = _validator(response)
                case HTTPStatus.PARTIAL_CONTENT | HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if "Range" in headers:
                    # Not what was asked for: the next try asks for all of it.
                    self._validator = None
                    raise _unavailable(self._source, "the server sent another part of the file")
                case status:
                    self._pause_seconds = _retry_after(response)
                    raise _status_error(self._source, status)
            expected = _total_bytes(response, offset=self._file.size_bytes)
            if expected is not None:
                check_space(self._volume, expected - self._file.size_bytes)
            self._progress.start(self._file.size_bytes)
            self._read_body(response, expected)

    def _read_body(self, response: urllib3.BaseHTTPResponse, expected_bytes: int | None) -> None:
        pieces = response.stream(CHUNK_BYTES, decode_content=False)
        while data := self._next(pieces, expected_bytes):
            with translate_errors(needed_bytes=expected_bytes):
                self._file.write(data)
            self._progress.update(self._file.size_bytes, expected_bytes)

    def _next(self, pieces: Iterator[bytes], expected_bytes: int | None) -> bytes:
        try:
            return next(pieces, b"")
        except (http_errors.ReadTimeoutError, TimeoutError) as error:
            raise _unavailable(self._source, "the server stopped sending in the middle of the file") from error
        except (http_errors.HTTPError, OSError) as error:  # urllib3 compares with Content-Length
            raise self._truncated(expected_bytes) from error

    def _truncated(self, expected_bytes: int | None) -> SyncError:
        return truncated(self._source.shown, found_bytes=self._file.size_bytes, expected_bytes=expected_bytes)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that is still being read, and the connection to be closed after it."""

    manager: urllib3.PoolManager
    response: urllib3.BaseHTTPResponse

    def __enter__(self) -> urllib3.BaseHTTPResponse:
        return self.response

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.manager.clear()


def _open(source: HttpUri, *, headers: dict[str, str], options: FetchOptions) -> _Answer:
    """Ask for the file, following redirects here: each hop may need another proxy, or none."""
    url = source.url
    for _ in range(MAX_REDIRECTS + 1):
        try:
            manager = _pool(url, options)
            response = manager.request(
                "GET", url, headers=headers, preload_content=False, redirect=False, retries=False
            )
        except (http_errors.HTTPError, OSError) as error:
            raise _connection_error(source, error) from error
        location = response.get_redirect_location()
        if not location:
            return _Answer(manager, response)
        response.close()
        manager.clear()
        url = _target(source, url, location)
    raise SyncError(
        SyncReason.SOURCE_REJECTED,
        f"{source.shown} redirects more than {MAX_REDIRECTS} times: name the file itself.",
    )


def _target(source: HttpUri, url: str, location: str) -> str:
    with suppress(ValueError):  # what cannot be understood
        target = urljoin(url, location)
        parts = urlsplit(target)
        if parts.scheme in ("http", "https") and parts.hostname:
            return target
    raise SyncError(
        SyncReason.SOURCE_REJECTED,
        f"{source.shown} redirects to what is not http or https: name the file itself.",
    )


def _pool(url: str, options: FetchOptions) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=options.connect_timeout_seconds, read=options.read_timeout_seconds)
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return urllib3.PoolManager(timeout=timeout)
    address = proxy if "//" in proxy else f"http://{proxy}"
    user = urlsplit(address)
    headers = urllib3.make_headers(proxy_basic_auth=f"{user.username}:{user.password or ''}") if user.username else None
    return urllib3.ProxyManager(address, proxy_headers=headers, timeout=timeout)


def _connection_error(source: HttpUri, error: Exception) -> SyncError:
    match error:
        case http_errors.LocationValueError():
            return SyncError(SyncReason.SOURCE_REJECTED, f"{source.shown} cannot be understood: correct the uri.")
        case http_errors.NameResolutionError():
            found = "its host name cannot be resolved"
        case http_errors.ConnectTimeoutError():
            found = "no connection within the time allowed"
        case http_errors.ReadTimeoutError():
            found = "connected, but no answer within the time allowed"
        case http_errors.SSLError():
            found = "the TLS connection fails (is its certificate trusted?)"
        case http_errors.ProxyError():
            found = "the proxy cannot be used"
        case _:
            found = "no connection"
    return _unavailable(source, found)


def _unavailable(source: HttpUri, found: str) -> SyncError:
    return SyncError(
        SyncReason.SOURCE_UNAVAILABLE,
        f"{source.shown}: {found}. Check the uri, the server, and that the sync Job may reach it.",
    )


def _status_error(source: HttpUri, status: int) -> SyncError:
    said = f"{source.shown}: HTTP {status}"
    match status:
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return SyncError(
                SyncReason.SOURCE_NOT_FOUND, f"{said}, no such file. Correct the uri or put the file there."
            )
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return SyncError(
                SyncReason.SOURCE_FORBIDDEN,
                f"{said}, access denied. The file must be readable without credentials.",
            )
        case _ if status in _LATER:
            return SyncError(SyncReason.SOURCE_UNAVAILABLE, f"{said}, the server wants to be asked later.")
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return SyncError(SyncReason.SOURCE_UNAVAILABLE, f"{said}, the server fails. Check it if this stays.")
        case _:
            return SyncError(SyncReason.SOURCE_REJECTED, f"{said} instead of 200 and a file. Correct the uri.")


def _continues(response: urllib3.BaseHTTPResponse, offset: int) -> bool:
    return offset > 0 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _total_bytes(response: urllib3.BaseHTTPResponse, *, offset: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return offset + int(length) if length.isascii() and length.isdigit() else None


def _validator(response: urllib3.BaseHTTPResponse) -> str | None:
    """Return what names this very content; a weak ETag does not promise the same bytes."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Return the seconds that the server asks for; a date is left to the Job's own backoff."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
