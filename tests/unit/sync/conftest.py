"""A volume, a claim and a web server that fails on demand: real files and real sockets, all on this machine."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.tensors import Tensors
from clipmodel_contract.volume_layout import VersionLayout
from clipmodel_sync.errors import SyncError
from clipmodel_sync.request import Request
from clipmodel_sync.sources.options import FetchOptions
from clipmodel_sync.sync import sync
from support.tiny_onnx import build_tiny_onnx

SIZE, DIMENSION = 16, 8

Answer = Callable[[BaseHTTPRequestHandler], None]


class WebServer:
    """Answers each request with the next of `answers`, the last one again and again; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[tuple[str, Message]] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers))
                answer = outer.answers.popleft() if len(outer.answers) > 1 else outer.answers[0]
                answer(self)
                self.close_connection = True

            @override
            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def stall(self) -> None:
        """Keep an answer open until the test ends."""
        self.released.wait(30)


def whole(body: bytes, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _send(handler, 200, {"Content-Length": str(len(body)), **headers})
        handler.wfile.write(body)

    return answer


def cut(body: bytes, at: int, **headers: str) -> Answer:
    """Announce all and send the first `at` bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _send(handler, 200, {"Content-Length": str(len(body)), **headers})
        handler.wfile.write(body[:at])

    return answer


def ranged(body: bytes, **headers: str) -> Answer:
    """Send what the Range header asks for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
        length = str(len(body) - start)
        _send(handler, 206, {"Content-Length": length, "Content-Range": content_range, **headers})
        handler.wfile.write(body[start:])

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _send(handler, code, {"Content-Length": "0", **headers})

    return answer


def _send(handler: BaseHTTPRequestHandler, code: int, headers: dict[str, str]) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


@dataclass
class Place:
    """A volume, a claim named `claim`, and how a sync of version 1 is asked for."""

    root: Path
    slept: list[float] = field(default_factory=list)

    @property
    def volume(self) -> Path:
        return self.root / "volume"

    @property
    def layout(self) -> VersionLayout:
        return VersionLayout(root=self.volume, model="tiny", version=1)

    @property
    def claim(self) -> Path:
        return self.root / "source" / "claim"

    @property
    def options(self) -> FetchOptions:
        return FetchOptions(connect_timeout_seconds=2, read_timeout_seconds=0.3, sleep=self.slept.append)

    def put(self, content: bytes, name: str = "model.onnx") -> str:
        """Put a file into the claim; return its URI."""
        path = self.claim / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f"pvc://claim/{name}"

    def request(self, uri: str, content: bytes, **changes: Any) -> Request:
        request = Request(
            volume=self.volume,
            source_root=self.root / "source",
            model="tiny",
            version=1,
            uri=uri,
            sha256=hashlib.sha256(content).hexdigest(),
            tensors=Tensors(input_name="image", image_size=SIZE, output_name="embedding", dimension=DIMENSION),
        )
        return replace(request, **changes)

    def sync(self, uri: str, content: bytes, **changes: Any) -> dict[str, Any]:
        request = self.request(uri, content, **changes)
        report: dict[str, Any] = json.loads(sync(request, fetch_options=self.options, lock_patience_seconds=1))
        return report

    def fail(self, uri: str, content: bytes, **changes: Any) -> tuple[SyncReason, str]:
        with pytest.raises(SyncError) as caught:
            self.sync(uri, content, **changes)
        assert not self.layout.staging.exists(), "staging is left behind"
        return caught.value.reason, caught.value.message

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.volume)): path.read_bytes()
            for path in sorted(self.volume.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "volume").mkdir()
    return Place(tmp_path)


@pytest.fixture(scope="session")
def model() -> bytes:
    return build_tiny_onnx(image_size=SIZE, dimension=DIMENSION)


@pytest.fixture(scope="session")
def other_model() -> bytes:
    return build_tiny_onnx(image_size=SIZE, dimension=DIMENSION, seed=1)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
