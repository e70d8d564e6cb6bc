"""Is the hub there? One question, an answer in time, whatever the network does."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typing_extensions import override

from clipmodel_export.weights import check_reachable


class Answering(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    http = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_any_status_is_an_answer(server: str, status: int) -> None:
    assert check_reachable(f"{server}/{status}") is None


def test_a_closed_port_is_said(listener: socket.socket) -> None:
    assert "refused" in str(check_reachable(f"http://127.0.0.1:{listener.getsockname()[1]}")).lower()


def test_silence_ends_in_time(listener: socket.socket) -> None:
    listener.listen()
    said = check_reachable(f"http://127.0.0.1:{listener.getsockname()[1]}", within_s=0.1)
    assert said is not None
    assert "no answer" in said or "timed out" in said


def test_a_name_lookup_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is not in the timeout of the connection."""
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(30)
        raise OSError("too late")

    monkeypatch.setattr("urllib.request.urlopen", hang)
    try:
        assert check_reachable("http://hub.invalid", within_s=0.05) == "no answer within 0.05 s"
    finally:
        released.set()


def test_a_name_that_does_not_exist_is_said() -> None:
    assert check_reachable("http://no-such-host.invalid", within_s=30) is not None
