"""What a web server does wrong ends in the right reason; what waiting mends is tried again, three times at most."""

import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from clipmodel_contract.reasons import SyncReason

from .conftest import Place, WebServer, cut, ranged, status, whole


def test_a_file_is_fetched_in_one_request(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(whole(model))
    assert place.sync(f"{web.url}/vit.onnx?token=abc", model)["result"] == "Synced"
    [(path, headers)] = web.requests
    assert path == "/vit.onnx?token=abc"
    assert headers["Accept-Encoding"] == "identity"
    assert place.layout.version_file.read_bytes() == model


@pytest.mark.parametrize(
    ("code", "reason", "tries"),
    [
        (404, SyncReason.SOURCE_NOT_FOUND, 1),
        (410, SyncReason.SOURCE_NOT_FOUND, 1),
        (401, SyncReason.SOURCE_FORBIDDEN, 1),
        (403, SyncReason.SOURCE_FORBIDDEN, 1),
        (400, SyncReason.SOURCE_REJECTED, 1),
        (416, SyncReason.SOURCE_REJECTED, 1),
        (204, SyncReason.SOURCE_REJECTED, 1),
        (304, SyncReason.SOURCE_REJECTED, 1),
        (408, SyncReason.SOURCE_UNAVAILABLE, 3),
        (425, SyncReason.SOURCE_UNAVAILABLE, 3),
        (429, SyncReason.SOURCE_UNAVAILABLE, 3),
        (500, SyncReason.SOURCE_UNAVAILABLE, 3),
        (503, SyncReason.SOURCE_UNAVAILABLE, 3),
    ],
)
def test_a_status_has_its_reason(
    place: Place, web: WebServer, model: bytes, code: int, reason: SyncReason, tries: int
) -> None:
    web.answers.append(status(code))
    found, message = place.fail(f"{web.url}/vit.onnx?token=secret#part", model)
    assert found is reason
    assert len(web.requests) == tries
    assert f"HTTP {code}" in message
    assert f"{web.url}/vit.onnx" in message
    assert "secret" not in message
    assert not place.layout.version_directory.exists()


def test_a_server_that_recovers_is_forgiven(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.extend([status(503, Retry_After="7"), status(502), whole(model)])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"
    assert place.slept == [7, 2]


def test_a_server_cannot_make_the_job_wait_for_ever(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(status(429, Retry_After="86400"))
    place.fail(f"{web.url}/vit.onnx", model)
    assert max(place.slept) <= 20


def test_a_body_that_ends_early(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(cut(model, 100))
    reason, message = place.fail(f"{web.url}/vit.onnx", model)
    assert reason is SyncReason.DOWNLOAD_TRUNCATED
    assert f"ended after 100 bytes, expected {len(model)}" in message
    assert len(web.requests) == 3


def test_a_chunked_body_that_ends_early(place: Place, web: WebServer, model: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"10\r\n" + model[:16] + b"\r\n20\r\n" + model[16:20])

    web.answers.append(answer)
    assert place.fail(f"{web.url}/vit.onnx", model)[0] is SyncReason.DOWNLOAD_TRUNCATED


def test_a_body_of_unknown_length(place: Place, web: WebServer, model: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(model)

    web.answers.append(answer)
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_a_cut_download_goes_on_where_it_broke_off(place: Place, web: WebServer, model: bytes, name: str) -> None:
    value = '"one"' if name == "ETag" else "Sun, 22 Nov 2026 10:00:00 GMT"
    web.answers.extend([cut(model, 100, **{name: value}), ranged(model, **{name: value})])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"
    (_, first), (_, second) = web.requests
    assert "Range" not in first
    assert (second["Range"], second["If-Range"]) == ("bytes=100-", value)


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_promise_of_the_same_bytes_it_begins_again(
    place: Place, web: WebServer, model: bytes, headers: dict[str, str]
) -> None:
    web.answers.extend([cut(model, 100, **headers), whole(model)])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"
    assert "Range" not in web.requests[1][1]


def test_a_file_that_changed_in_between_is_sent_whole(
    place: Place, web: WebServer, model: bytes, other_model: bytes
) -> None:
    web.answers.extend([cut(other_model, 100, ETag='"old"'), whole(model, ETag='"new"')])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"


def test_parts_of_two_files_are_no_digest_mismatch(
    place: Place, web: WebServer, model: bytes, other_model: bytes
) -> None:
    web.answers.extend([cut(other_model, 1000, ETag='"x"'), ranged(model, ETag='"x"'), whole(model, ETag='"x"')])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"


def test_another_part_than_asked_for_is_not_taken(place: Place, web: WebServer, model: bytes) -> None:
    wrong = status(206, Content_Range=f"bytes 50-99/{len(model)}")
    web.answers.extend([cut(model, 100, ETag='"x"'), wrong, whole(model)])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"
    assert ["Range" in headers for _, headers in web.requests] == [False, True, False]


def test_a_server_that_stops_sending(place: Place, web: WebServer, model: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        cut(model, 100)(handler)
        web.stall()

    web.answers.append(answer)
    reason, message = place.fail(f"{web.url}/vit.onnx", model)
    assert reason is SyncReason.SOURCE_UNAVAILABLE
    assert "stopped sending" in message


def test_a_server_that_never_answers(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(lambda _: web.stall())
    assert place.fail(f"{web.url}/vit.onnx", model)[0] is SyncReason.SOURCE_UNAVAILABLE


def test_nobody_listens(place: Place, model: bytes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}/vit.onnx"
        assert place.fail(uri, model)[0] is SyncReason.SOURCE_UNAVAILABLE


def test_a_name_that_does_not_exist(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    reason, message = place.fail("http://models.example.invalid/vit.onnx", model)
    assert reason is SyncReason.SOURCE_UNAVAILABLE
    assert "cannot be resolved" in message


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(place: Place, web: WebServer, model: bytes, code: int) -> None:
    web.answers.extend([status(code, Location="/elsewhere?sig=1"), whole(model)])
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"
    assert [path for path, _ in web.requests] == ["/vit.onnx", "/elsewhere?sig=1"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/vit.onnx", "http://[::1"])
def test_redirects_lead_to_the_web_only(place: Place, web: WebServer, model: bytes, location: str) -> None:
    web.answers.append(status(302, Location=location))
    assert place.fail(f"{web.url}/vit.onnx", model)[0] is SyncReason.SOURCE_REJECTED


def test_redirects_end(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(status(302, Location="/again"))
    assert place.fail(f"{web.url}/vit.onnx", model)[0] is SyncReason.SOURCE_REJECTED
    assert len(web.requests) == 11


def test_a_proxy_is_used_but_not_for_its_exceptions(
    place: Place, web: WebServer, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url.replace("://", "://user:word@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web.answers.append(whole(model))
    assert place.sync("http://models.example.invalid/vit.onnx", model)["result"] == "Synced"
    path, headers = web.requests[0]
    assert path == "http://models.example.invalid/vit.onnx"
    assert headers["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"
    assert place.sync(f"{web.url}/vit.onnx", model, version=2)["result"] == "Synced"
    assert web.requests[1][0] == "/vit.onnx"


def test_a_file_that_cannot_fit_is_not_fetched(place: Place, web: WebServer, model: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 60))
        handler.end_headers()

    web.answers.append(answer)
    reason, message = place.fail(f"{web.url}/vit.onnx", model)
    assert reason is SyncReason.VOLUME_FULL
    assert str(1 << 60) in message
    assert len(web.requests) == 1


def test_nothing_of_a_failed_fetch_stays(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(cut(model, 100))
    place.fail(f"{web.url}/vit.onnx", model)
    assert [path for path in place.files() if not path.endswith(".lock")] == []
    assert Path(place.volume / "repository").exists() is False
