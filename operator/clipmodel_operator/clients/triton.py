"""Triton over HTTP (KServe v2 and its repository extension), one pod at a time: through the Service a request would reach any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from clipmodel_contract import golden
from clipmodel_contract.control import CONTROL_HEADER
from clipmodel_contract.ports import HTTP_PORT
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.clients.load_errors import parse_load_error, summarize_load_error
from clipmodel_operator.models.errors import LoadRefusedError, RejectedError, RetryError
from clipmodel_operator.models.server import Server

# A golden image is 0.6 MB and takes about 0.1 s on two cores; behind a full queue it may wait.
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
# Loading reads the whole version from the volume: 352 MB over a slow network file system take minutes.
_LOAD_TIMEOUT = aiohttp.ClientTimeout(total=900, connect=5)
#: Bytes. The largest answer that counts is the list of a repository.
_LONGEST_ANSWER = 4 << 20
_MESSAGE_LENGTH = 240
#: What Triton says no with under other codes than 400 and 404 (2.51): a model that is not loaded, a config that it cannot read, and a Python backend whose
#: process is gone while the server goes on.
_SAYS_NO = ("is not at ready state", "failed to poll from model repository", "is not healthy")


def open_session() -> aiohttp.ClientSession:
    """Open a session that keeps no connection: a Triton that ends waits for all that there are, up to its exit timeout."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


@dataclass(slots=True)
class TritonClient:
    """Asks single pods by address."""

    session: aiohttp.ClientSession

    async def _request(
        self,
        server: Server,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _TIMEOUT,  # noqa: ASYNC109 - aiohttp's own, with its parts
    ) -> tuple[bytes, Mapping[str, str]]:
        """Send one request. Raises RejectedError where Triton says no, RetryError for anything else that is no answer."""
        host = f"[{server.address}]" if ":" in server.address else server.address
        url = f"http://{host}:{HTTP_PORT}{path}"
        sent = {CONTROL_HEADER: server.control_key, **(headers or {})}
        try:
            async with self.session.request(method, url, data=body, headers=sent, timeout=timeout) as answer:
                content = await _read(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"Triton does not answer: {error!r}") from error
        if answer.status != 200:
            said = _error_of(content)
            if answer.status in {400, 404} or any(words in said for words in _SAYS_NO):
                raise RejectedError(said)
            raise RetryError(f"Triton answers HTTP {answer.status}: {said[:_MESSAGE_LENGTH]}")
        return content, answer.headers

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        """Embed golden image `index`. Gives `tensors.dimension` values; raises RejectedError or RetryError where there is no embedding."""
        body, header_length = golden.infer_request(
            golden.golden_image(index, tensors.image_size),
            input_name=tensors.input_name,
            output_name=tensors.output_name,
            size=tensors.image_size,
        )
        headers = {golden.HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
        path = f"/v2/models/{model}/versions/{version}/infer"
        content, told = await self._request(server, "POST", path, body=body, headers=headers)
        try:
            return golden.infer_response(content, int(told[golden.HEADER_LENGTH]))
        except (KeyError, ValueError) as error:
            raise RetryError(f"Triton's answer cannot be read: {error}") from error

    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]:
        """Give the config that a loaded model runs with. Raises RejectedError where it is not loaded."""
        content, _ = await self._request(server, "GET", f"/v2/models/{model}/config")
        return _parse(content)

    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None:
        """Load a model with exactly this config, whatever it ran with before; gives back when it serves. Raises LoadRefusedError with Triton's words.

        The config is always sent: a load without it compares file times, and after one with it does nothing and says 200.
        """
        body = json.dumps({"parameters": {"config": json.dumps(config)}}).encode()
        try:
            await self._request(server, "POST", f"/v2/repository/models/{model}/load", body=body, timeout=_LOAD_TIMEOUT)
        except RejectedError as error:
            said = str(error)
            raise LoadRefusedError(
                summarize_load_error(said, length=_MESSAGE_LENGTH), causes=parse_load_error(said)
            ) from error

    async def unload(self, server: Server, model: str) -> None:
        """Ask for a model to be unloaded; `loaded_versions` tells when it is."""
        await self._request(server, "POST", f"/v2/repository/models/{model}/unload", body=b"{}")

    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]:
        """List the versions of a model that are loaded, or on their way in or out."""
        content, _ = await self._request(server, "POST", "/v2/repository/index", body=b"{}")
        busy = {"READY", "LOADING", "UNLOADING"}
        entries = [e for e in _parse_list(content) if e.get("name") == model and e.get("state") in busy]
        return frozenset(int(e["version"]) for e in entries if str(e.get("version", "")).isdigit())


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer, as far as anybody needs it: Triton's errors have no end of their own."""
    parts, size = list[bytes](), 0
    async for part in answer.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _LONGEST_ANSWER:
            break
    return b"".join(parts)[:_LONGEST_ANSWER]


def _error_of(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise RetryError(f"Triton's answer cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise RetryError("Triton's answer cannot be read: not an object")
    return parsed


def _parse_list(content: bytes) -> list[dict[str, Any]]:
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise RetryError(f"Triton's answer cannot be read: {error}") from error
    return [e for e in parsed if isinstance(e, dict)] if isinstance(parsed, list) else []
