"""`clipmodel … | head`: whoever reads standard output may go before all is written. A command then ends, with a shell's code for SIGPIPE and no word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from support.builders import NAME, NAMESPACE, build_object
from support.command_line import run_without_reader

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "manifests/samples/openclip-vit-b32.yaml"
CLIPMODEL = ("-m", "clipmodel_operator")
READER_GONE = 141


class _ApiServer(BaseHTTPRequestHandler):
    """Has one ClipModel, and nothing that was made of it."""

    def do_GET(self) -> None:
        asked, clip = self.path.partition("?")[0].rpartition("/")[2], build_object()
        listed = {"items": [clip] if asked == "clipmodels" else [], "metadata": {}}
        is_list = asked in {"clipmodels", "events", "jobs", "pods"}
        body = json.dumps(clip if asked == NAME else listed if is_list else {}).encode()
        self.send_response(200 if is_list or asked == NAME else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # type: ignore[explicit-override]  # it would write to the tests' output
        pass


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ApiServer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    file = tmp_path_factory.mktemp("kube") / "config"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        "current-context": "x",
    }
    file.write_text(yaml.safe_dump(config))
    yield str(file)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["embed", "--help"],
        ["export", "--help"],
        ["operator", "--help"],
        ["crd"],
        ["render", "-f", "-"],
        ["status", NAME, "-o", "json"],
        ["status", NAME, "-w"],
        ["diff", "-f", "-"],
    ],
    ids=" ".join,
)
def test_it_ends_quietly(kubeconfig: str, arguments: list[str]) -> None:
    done = run_without_reader(*CLIPMODEL, *arguments, env={"KUBECONFIG": kubeconfig}, text=SAMPLE.read_text())
    assert (done.returncode, done.stderr) == (READER_GONE, "")


def test_it_ends_quietly_where_output_is_not_buffered(kubeconfig: str) -> None:
    done = run_without_reader(*CLIPMODEL, "status", env={"KUBECONFIG": kubeconfig}, unbuffered=True)
    assert (done.returncode, done.stderr) == (READER_GONE, "")


def test_who_follows_ends_also_where_there_is_nothing_to_say(kubeconfig: str) -> None:
    """`clipmodel status -w | head -1`: the next line may be hours away."""
    with subprocess.Popen(
        [sys.executable, *CLIPMODEL, "status", NAME, "-w"],
        env={**os.environ, "KUBECONFIG": kubeconfig},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        try:
            assert process.wait(30) == READER_GONE
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_what_is_read_to_its_end_ends_as_ever() -> None:
    done = subprocess.run(
        [sys.executable, *CLIPMODEL, "render", "-f", str(SAMPLE)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(yaml.safe_load_all(done.stdout))) > 1


def test_so_does_the_demo() -> None:
    done = run_without_reader("-m", "demo", "--help", env={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (READER_GONE, "")
