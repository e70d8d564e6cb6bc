"""The tests' own client of the API server: whose words an error has, and what a kept connection may do."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typing_extensions import override

from support.api import Api, ApiError, find_kind


class _Server(http.server.BaseHTTPRequestHandler):
    """Refuses what is called `refused`, cuts off what is called `cut`, and gives back what it was asked of the rest."""

    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/cut"):
            self.close_connection = True
            return
        asked = {"method": self.command, "path": self.path, "type": self.headers["Content-Type"], "body": body.decode()}
        refused = {"kind": "Status", "message": 'admission says "no"', "code": 422}
        content = json.dumps(refused if self.path.endswith("/refused") else asked).encode()
        self.send_response(422 if self.path.endswith("/refused") else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    yield Api(str(tmp_path / "config"))
    server.shutdown()
    server.server_close()


def test_what_is_refused_is_said_in_the_api_servers_words(api: Api) -> None:
    with pytest.raises(ApiError, match=r'^admission says "no"$') as refused:
        api.ask("POST", "/refused", body={})
    assert refused.value.code == 422


def test_a_question_that_is_cut_off_is_an_error_and_the_next_one_is_answered(api: Api) -> None:
    with pytest.raises(ApiError):
        api.ask("POST", "/cut", body={})
    assert api.ask("GET", "/next")["method"] == "GET"


def test_a_patch_says_of_which_kind_it_is(api: Api) -> None:
    asked = api.ask("PATCH", "/x", query={"dryRun": "All"}, body=[1], content_type="application/json-patch+json")
    assert asked == {"method": "PATCH", "path": "/x?dryRun=All", "type": "application/json-patch+json", "body": "[1]"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("clip", "/apis/clipmodel.dev/v1alpha1/namespaces/n/clipmodels/x"),
        ("ClipModel", "/apis/clipmodel.dev/v1alpha1/namespaces/n/clipmodels/x"),
        ("pvc", "/api/v1/namespaces/n/persistentvolumeclaims/x"),
        ("pods", "/api/v1/namespaces/n/pods/x"),
        ("node", "/api/v1/nodes/x"),
    ],
)
def test_kinds_have_the_names_that_kubectl_takes(name: str, path: str) -> None:
    assert find_kind(name).path("n", "x") == path
