"""The startup probe as pods run it: a real process, isolated, against a small Triton. Passes on the proven embedding, and on nothing else."""

from __future__ import annotations

import ast
import json
import math
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from clipmodel_contract import golden
from clipmodel_operator.api.v1alpha1.serving import STARTUP_RUN_S
from clipmodel_operator.rendering.config_map import Committed, render_config_map
from clipmodel_operator.rendering.package_files import STARTUP_PROBE
from support.builders import VECTORS_1, build_model, build_record

sys.path.insert(0, str(Path(__file__).parents[3]))

from hack import build_probe

Answer = Callable[[BaseHTTPRequestHandler, int], None]


def embedding(handler: BaseHTTPRequestHandler, vector: tuple[float, ...]) -> None:
    data = struct.pack(f"<{len(vector)}f", *vector)
    header = json.dumps({"outputs": [{"name": "embedding", "datatype": "FP32", "shape": [1, len(vector)], "parameters": {"binary_data_size": len(data)}}]})  # fmt: skip
    send(handler, 200, header.encode() + data, {golden.HEADER_LENGTH: str(len(header))})


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def right(handler: BaseHTTPRequestHandler, index: int) -> None:
    embedding(handler, VECTORS_1[index])


class Triton:
    """Answers inference requests by `answer`, which is told which golden image was sent."""

    def __init__(self) -> None:
        self.answer: Answer = right
        self.paths: list[str] = []
        images = [golden.golden_image(i, 224) for i in range(golden.IMAGE_COUNT)]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                header = json.loads(body[: int(self.headers[golden.HEADER_LENGTH])])
                (tensor,) = header["inputs"]
                assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("image", [1, 3, 224, 224], "FP32")
                assert header["outputs"] == [{"name": "embedding", "parameters": {"binary_data": True}}]
                outer.paths.append(self.path)
                outer.answer(self, images.index(body[int(self.headers[golden.HEADER_LENGTH]) :]))

            @override
            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def server() -> Iterator[Triton]:
    triton = Triton()
    thread = threading.Thread(target=triton.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield triton
    triton.server.shutdown()
    triton.server.server_close()
    thread.join()


@pytest.fixture
def triton(server: Triton) -> Triton:
    server.answer = right
    server.paths.clear()
    return server


@pytest.fixture
def run(tmp_path: Path, triton: Triton) -> Callable[..., subprocess.CompletedProcess[str]]:
    data = render_config_map(build_model(), Committed((1,), (build_record(),)))["data"]
    (tmp_path / "probe.py").write_text(data["probe.py"], "utf-8")

    def start(
        *, versions: str = data["versions.json"], address: str = triton.address
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "versions.json").write_text(versions, "utf-8")
        return subprocess.run(
            [sys.executable, "-I", str(tmp_path / "probe.py")],
            env={**os.environ, "CLIPMODEL_VERSIONS": str(tmp_path / "versions.json"), "CLIPMODEL_HTTP": address, "CLIPMODEL_PATIENCE_S": "0.2"},
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return start


def load_probe() -> dict[str, Any]:
    """Give what the program defines."""
    program: dict[str, Any] = {"__name__": "probe"}
    exec(compile(STARTUP_PROBE, "probe.py", "exec"), program)  # noqa: S102 - our own
    return program


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_it_passes_on_the_proven_embeddings(run: Run, triton: Triton) -> None:
    result = run()
    assert (result.returncode, result.stderr) == (0, "")
    assert triton.paths == ["/v2/models/clip/versions/1/infer"] * 2, "both golden images, of the version itself"


def _cut(handler: BaseHTTPRequestHandler, index: int) -> None:
    del index
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{}")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(lambda h, _: embedding(h, (4.0, 3.0, 2.0, 1.0)), "version 1, golden image 0: cosine 0.6667", id="another vector"),
        pytest.param(lambda h, i: embedding(h, VECTORS_1[0] if i == 0 else (1.0, 1.0, 1.0, 1.0)), "version 1, golden image 1: cosine", id="another second vector"),
        pytest.param(lambda h, _: embedding(h, (1.0, 2.0)), "2 values, expected 4", id="another dimension"),
        pytest.param(lambda h, _: embedding(h, (math.nan, 2.0, 3.0, 4.0)), "values that are not finite", id="NaN"),
        pytest.param(lambda h, i: embedding(h, tuple(2 * v for v in VECTORS_1[i])), "norm", id="another norm"),
        pytest.param(lambda h, _: send(h, 400, b'{"error":"Request for unknown model: clip is not found"}'), "Triton says 400", id="an HTTP error"),
        pytest.param(lambda h, _: send(h, 503, b"\xff\xfe"), "Triton says 503", id="an HTTP error that is no text"),
        pytest.param(lambda h, _: send(h, 200, b"hello", {golden.HEADER_LENGTH: "5"}), "answer cannot be read", id="an answer that is no tensor"),
        pytest.param(lambda h, _: send(h, 200, b"{}"), "answer cannot be read", id="an answer without its header's length"),
        pytest.param(_cut, "does not answer", id="an answer that is cut off"),
    ],
)  # fmt: skip
def test_it_fails_and_says_why(run: Run, triton: Triton, answer: Answer, said: str) -> None:
    triton.answer = answer
    result = run()
    assert result.returncode == 1
    assert result.stderr.startswith("clipmodel: "), result.stderr
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1, "one line: it becomes the event of a pod"


def test_it_fails_where_nobody_listens(run: Run) -> None:
    result = run(address="127.0.0.1:1")
    assert result.returncode == 1
    assert result.stderr.startswith("clipmodel: Triton does not answer yet:")


def test_it_waits_for_a_server_that_still_loads(
    tmp_path: Path, triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port opens while the program waits: at the first of its pauses, so that it must have been refused before."""
    late = ThreadingHTTPServer(("127.0.0.1", 0), triton.server.RequestHandlerClass, bind_and_activate=False)
    late.server_bind()
    thread = threading.Thread(target=late.serve_forever, kwargs={"poll_interval": 0.01})
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        late.server_activate()
        thread.start()

    versions = tmp_path / "versions.json"
    versions.write_text(render_config_map(build_model(), Committed((1,), (build_record(),)))["data"]["versions.json"])
    monkeypatch.setenv("CLIPMODEL_VERSIONS", str(versions))
    monkeypatch.setenv("CLIPMODEL_HTTP", f"127.0.0.1:{late.server_port}")
    monkeypatch.setattr(time, "sleep", pause)
    try:
        load_probe()["run"]()
    finally:
        if pauses:
            late.shutdown()
            thread.join()
        late.server_close()
    assert pauses == [0.1]
    assert triton.paths == ["/v2/models/clip/versions/1/infer"] * 2


@pytest.mark.parametrize("fault", ["a wrong answer", "nothing to prove", "no file"])
def test_a_run_that_fails_takes_as_long_as_any_other(
    tmp_path: Path, triton: Triton, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Kubelet counts the runs that fail: shorter ones would bring the deadline nearer."""
    pauses: list[float] = []
    known = render_config_map(build_model(), Committed((1,), (build_record(),)))["data"]["versions.json"]
    if fault != "no file":
        (tmp_path / "versions.json").write_text(known if fault == "a wrong answer" else '{"versions": {}}')
    triton.answer = lambda handler, _: embedding(handler, (4.0, 3.0, 2.0, 1.0))
    monkeypatch.setenv("CLIPMODEL_VERSIONS", str(tmp_path / "versions.json"))
    monkeypatch.setenv("CLIPMODEL_HTTP", triton.address)
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    with pytest.raises((SystemExit, FileNotFoundError)):
        load_probe()["run"]()
    assert pauses == [STARTUP_RUN_S]


def test_it_fails_where_nothing_is_to_be_proven(run: Run, triton: Triton) -> None:
    versions = json.dumps(
        {
            "model": "clip",
            "input": "image",
            "output": "embedding",
            "imageSize": 224,
            "minCosine": 0.9999,
            "versions": {},
        }
    )
    result = run(versions=versions)
    assert result.returncode == 1
    assert "names no version" in result.stderr
    assert triton.paths == []


def test_it_fails_without_its_file(run: Run) -> None:
    assert run(versions="no JSON").returncode == 1


GOLDEN, MAIN = build_probe.GOLDEN.read_text("utf-8"), build_probe.MAIN.read_text("utf-8")


def edit(source: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    return source


def test_it_is_the_golden_checks_code_and_the_main_program() -> None:
    assert build_probe.find_difference(STARTUP_PROBE, golden=GOLDEN, main=MAIN) is None
    # What is committed is rendered; another release of Python or ruff may write the same code otherwise, and need not.
    built = build_probe.build_probe(GOLDEN, MAIN)
    assert build_probe.find_difference(built, golden=GOLDEN, main=MAIN) is None


def test_a_comment_of_the_golden_check_does_not_reach_it() -> None:
    said = edit(
        GOLDEN,
        ("    norm, expected =", "    # Measured again on another day.\n    norm, expected ="),
        ('"""Give the cosine of two vectors of one length, neither of them zero."""', '"""Give the cosine."""'),
        ('"""A text that is no golden vector."""', '"""Not a golden vector."""\n\n    # Whatever it is.'),
        ('"""Golden images and the golden check:', '"""The golden check:'),
    )
    assert build_probe.find_difference(STARTUP_PROBE, golden=said, main=MAIN) is None, "nothing is written anew"
    assert build_probe.build_probe(said, MAIN) == build_probe.build_probe(GOLDEN, MAIN)
    assert "Measured" not in build_probe.build_probe(said, MAIN)


@pytest.mark.parametrize(
    "change",
    [
        ("MIN_COSINE = 0.9999", "MIN_COSINE = 0.999"),
        ("if norm == 0 or expected == 0:", "if norm == 0:"),
        ('return "only zeros"', 'return "zeros"'),
        ("import struct\n", "import struct\nimport random\n"),
    ],
)
def test_the_golden_checks_code_makes_it_stale(change: tuple[str, str]) -> None:
    other = edit(GOLDEN, change)
    assert "not that of operator/clipmodel_contract/golden.py and" in str(
        build_probe.find_difference(STARTUP_PROBE, golden=other, main=MAIN)
    )
    built = build_probe.build_probe(other, MAIN)
    assert build_probe.find_difference(built, golden=other, main=MAIN) is None


def test_a_comment_of_the_program_does_not_reach_it_and_its_code_does() -> None:
    said = edit(MAIN, ("PATIENCE_S = 5.0", "# Measured again.\nPATIENCE_S = 5.0"), ('"""Prove; a run', '"""A run'))
    assert build_probe.find_difference(STARTUP_PROBE, golden=GOLDEN, main=said) is None, "nothing is written anew"
    assert build_probe.build_probe(GOLDEN, said) == build_probe.build_probe(GOLDEN, MAIN)
    other = edit(MAIN, ("PATIENCE_S = 5.0", "PATIENCE_S = 6.0"))
    assert "clipmodel_probe/main.py" in str(build_probe.find_difference(STARTUP_PROBE, golden=GOLDEN, main=other))


def test_the_command_writes_what_is_stale_and_leaves_what_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GOLDEN", "MAIN", "PROBE"):
        path = tmp_path / f"{name.lower()}.py"
        path.write_bytes(getattr(build_probe, name).read_bytes())
        monkeypatch.setattr(build_probe, name, path)
    monkeypatch.setattr(build_probe, "ROOT", tmp_path)
    by_hand = edit(
        STARTUP_PROBE, ("    return (header + image, len(header))", "    return header + image, len(header)")
    )
    build_probe.PROBE.write_text(by_hand, "utf-8")
    assert build_probe.main([]) == 0
    assert build_probe.PROBE.read_text("utf-8") == by_hand, "the same code, in other words"
    build_probe.GOLDEN.write_text(edit(GOLDEN, ("MIN_COSINE = 0.9999", "MIN_COSINE = 0.999")), "utf-8")
    assert build_probe.main(["--check"]) == 1
    assert "make probe" in capsys.readouterr().err
    assert build_probe.main([]) == 0
    assert "MIN_COSINE = 0.999\n" in build_probe.PROBE.read_text("utf-8")
    assert build_probe.main(["--check"]) == 0


def test_it_needs_the_standard_library_only() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(STARTUP_PROBE)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported <= sys.stdlib_module_names


def test_it_runs_on_the_python_of_older_images() -> None:
    ast.parse(STARTUP_PROBE, feature_version=(3, 8))
