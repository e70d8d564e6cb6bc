"""The startup probe as pods run it: a real process, isolated, against a small Triton. Passes on what was proven of the loaded config, and on nothing else."""

from __future__ import annotations

import ast
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from clipmodel_contract import golden
from clipmodel_contract.control import CONTROL_HEADER, CONTROL_KEY_VARIABLE
from clipmodel_contract.proofs import CONFIG_ID_PARAMETER, render_proofs
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.api.v1alpha1.serving import STARTUP_RUN_S
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.rendering.deployment import render_deployment
from clipmodel_operator.rendering.package_files import STARTUP_PROBE
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import SHA_1, SHA_2, SHA_OTHER, VECTORS_1, VECTORS_OTHER, build_model

sys.path.insert(0, str(Path(__file__).parents[3]))

from hack import build_probe

SIZE = 28
KEY = "0123abcd"
#: Config ids: of what starts, of what was proven before it (version 1 alone, with more tolerance), and of one that nobody has proven.
BOOT, PREVIOUS, UNKNOWN = "b" * 12, "a" * 12, "f" * 12
VECTORS = {1: VECTORS_1, 2: VECTORS_OTHER}
Vectors = Sequence[tuple[float, ...]]
#: Told the version and the golden images that were sent, by their numbers.
Answer = Callable[[BaseHTTPRequestHandler, int, Sequence[int]], None]


def render(
    *,
    boot: Mapping[int, str] | None = None,
    min_cosine: float = 0.9999,
    previous_min_cosine: float = 0.98,
    vectors: Mapping[str, Vectors] | None = None,
) -> str:
    """Render versions.json: both versions under BOOT, version 1 under PREVIOUS."""
    known = {SHA_1: VECTORS_1, SHA_2: VECTORS_OTHER, **(vectors or {})}
    return json.dumps(
        render_proofs(
            model="clip",
            tensors=Tensors(image_size=SIZE, dimension=4),
            proofs={BOOT: (min_cosine, boot or {1: SHA_1, 2: SHA_2}), PREVIOUS: (previous_min_cosine, {1: SHA_1})},
            vectors={sha256: [golden.encode_vector(v) for v in some] for sha256, some in known.items()},
        )
    )


def config(
    config_id: str = BOOT, versions: Sequence[int | str] = (1, 2), *, max_batch_size: int | None = 32
) -> dict[str, Any]:
    """Say what a Triton says of the config that it runs, as far as the probe looks."""
    sizes = {} if max_batch_size is None else {"max_batch_size": max_batch_size}
    parameters = {CONFIG_ID_PARAMETER: {"string_value": config_id}}
    return {"version_policy": {"specific": {"versions": list(versions)}}, "parameters": parameters, **sizes}


def embeddings(handler: BaseHTTPRequestHandler, vectors: Vectors, *, shape: Sequence[int] | None = None) -> None:
    data = b"".join(struct.pack(f"<{len(v)}f", *v) for v in vectors)
    output = {"name": "embedding", "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    header = json.dumps({"outputs": [{**output, "shape": shape or [len(vectors), len(vectors[0])]}]})
    send(handler, 200, header.encode() + data, {golden.HEADER_LENGTH: str(len(header))})


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def right(handler: BaseHTTPRequestHandler, version: int, images: Sequence[int]) -> None:
    embeddings(handler, [VECTORS[version][i] for i in images])


class Triton:
    """Tells its config to who has the key, and answers inference requests by `answer`."""

    def __init__(self) -> None:
        self.images = [golden.golden_image(i, SIZE) for i in range(golden.IMAGE_COUNT)]
        self.reset()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/v2/models/clip/config"
                if self.headers[CONTROL_HEADER] != KEY:
                    send(self, 403, b'{"error":"This API is restricted, expecting header \'clipmodel-control-key\'"}')
                    return
                if not outer.goes_on.is_set():
                    outer.goes_on.wait(30)
                    return
                told = outer.configs.pop(0) if len(outer.configs) > 1 else outer.configs[0]
                send(self, *(told if isinstance(told, tuple) else (200, json.dumps(told).encode())))

            def do_POST(self) -> None:
                assert CONTROL_HEADER not in self.headers
                body = self.rfile.read(int(self.headers["Content-Length"]))
                length = int(self.headers[golden.HEADER_LENGTH])
                header = json.loads(body[:length])
                (tensor,) = header["inputs"]
                count, *image = tensor["shape"]
                assert (tensor["name"], image, tensor["datatype"]) == ("image", [3, SIZE, SIZE], "FP32")
                assert header["outputs"] == [{"name": "embedding", "parameters": {"binary_data": True}}]
                step = len(outer.images[0])
                pixels = body[length:]
                sent = [outer.images.index(pixels[at : at + step]) for at in range(0, len(pixels), step)]
                assert count == len(sent)
                model, version = self.path.removeprefix("/v2/models/").removesuffix("/infer").split("/versions/")
                assert model == "clip"
                outer.asked.append((int(version), sent))
                outer.answer(self, int(version), sent)

            @override
            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def reset(self) -> None:
        self.answer: Answer = right
        #: What it says of its config, one time after the other, the last one from then on: JSON, or status and content.
        self.configs: list[dict[str, Any] | tuple[int, bytes]] = [config()]
        #: Version and golden images of each request.
        self.asked: list[tuple[int, list[int]]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()


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
    server.reset()
    return server


class Pod:
    """A container's files and environment. Its /tmp outlives the container, its /proc does not."""

    def __init__(self, folder: Path, triton: Triton) -> None:
        self.progress = folder / "tmp/progress.json"
        self.progress.parent.mkdir()
        self.versions = folder / "versions.json"
        self.versions.write_text(render(), "utf-8")
        self.program = folder / "probe.py"
        self.program.write_text(STARTUP_PROBE, "utf-8")
        self.proc = folder / "proc"
        self.environment = {
            "CLIPMODEL_VERSIONS": str(self.versions),
            "CLIPMODEL_HTTP": triton.address,
            "CLIPMODEL_PATIENCE_S": "0",
            "CLIPMODEL_PROGRESS": str(self.progress),
            "CLIPMODEL_PROC": str(self.proc),
            CONTROL_KEY_VARIABLE: KEY,
        }
        self.start_triton()

    def start_triton(self, *, name: str = "tritonserver", started: object = 4711, boot: str = "7ad1") -> None:
        """Give PID 1: fields 3 to 21 of its state, then when it started."""
        stat, boot_id = self.proc / "1/stat", self.proc / "sys/kernel/random/boot_id"
        for path in (stat, boot_id):
            path.parent.mkdir(parents=True, exist_ok=True)
        stat.write_text(f"1 ({name}) S {' '.join(['0'] * 18)} {started} 0 0\n")
        boot_id.write_text(f"{boot}\n")

    def command(self) -> list[str]:
        return [sys.executable, "-I", str(self.program)]

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(), env={**os.environ, **self.environment, **environment},
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def run_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run it in this process, whose clock a test can stop."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        load_probe()["run"]()


@pytest.fixture
def pod(tmp_path: Path, triton: Triton) -> Pod:
    return Pod(tmp_path, triton)


def load_probe() -> dict[str, Any]:
    """Give what the program defines."""
    program: dict[str, Any] = {"__name__": "probe"}
    exec(compile(STARTUP_PROBE, "probe.py", "exec"), program)  # noqa: S102 - our own
    return program


def passes(result: subprocess.CompletedProcess[str]) -> bool:
    assert result.stdout == ""
    return (result.returncode, result.stderr) == (0, "")


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """Give what a run that failed says: one line, for it becomes the event of a pod."""
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("clipmodel: "), result.stderr
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


BOTH = [(1, [0, 1]), (2, [0, 1])]


def test_it_passes_on_the_proven_embeddings(pod: Pod, triton: Triton) -> None:
    assert passes(pod.run())
    assert triton.asked == BOTH, "both golden images at once, of each version itself"


def other_vector(handler: BaseHTTPRequestHandler, version: int, images: Sequence[int]) -> None:
    del version, images
    embeddings(handler, [(4.0, 3.0, 2.0, 1.0)] * 2)


def _cut(handler: BaseHTTPRequestHandler, *_: object) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{}")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(other_vector, "version 1, golden image 0: cosine 0.6667", id="another vector"),
        pytest.param(lambda h, *_: embeddings(h, (VECTORS_1[0], (1.0, 1.0, 1.0, 1.0))), "version 1, golden image 1: cosine", id="another second vector"),
        pytest.param(lambda h, *_: embeddings(h, VECTORS_1[::-1]), "version 1, golden image 0: cosine", id="the images in another order"),
        pytest.param(lambda h, v, i: right(h, v, i) if v == 1 else embeddings(h, VECTORS_1), "version 2, golden image 0: cosine", id="one version in place of the other"),
        pytest.param(lambda h, *_: embeddings(h, [(1.0, 2.0)] * 2), "2 values, expected 4", id="another dimension"),
        pytest.param(lambda h, *_: embeddings(h, [(math.nan, 2.0, 3.0, 4.0)] * 2), "values that are not finite", id="NaN"),
        pytest.param(lambda h, *_: embeddings(h, [tuple(2 * x for x in v) for v in VECTORS_1]), "norm", id="another norm"),
        pytest.param(lambda h, *_: embeddings(h, VECTORS_1[:1]), "answer cannot be read: not 2 embeddings", id="one embedding of two"),
        pytest.param(lambda h, *_: embeddings(h, VECTORS_1, shape=[1, 8]), "answer cannot be read: not 2 embeddings", id="one embedding as long as two"),
        pytest.param(lambda h, *_: send(h, 400, b'{"error":\n"Request for unknown model: clip is not found"}'), "version 1: Triton says 400", id="an HTTP error"),
        pytest.param(lambda h, *_: send(h, 503, b"\xff\xfe"), "Triton says 503", id="an HTTP error that is no text"),
        pytest.param(lambda h, *_: send(h, 200, b"hello", {golden.HEADER_LENGTH: "5"}), "answer cannot be read", id="an answer that is no tensor"),
        pytest.param(lambda h, *_: send(h, 200, b"{}"), "answer cannot be read", id="an answer without its header's length"),
        pytest.param(_cut, "does not answer", id="an answer that is cut off"),
    ],
)  # fmt: skip
def test_it_fails_and_says_why(pod: Pod, triton: Triton, answer: Answer, said: str) -> None:
    triton.answer = answer
    assert said in complaint(pod.run())


def test_it_fails_where_nobody_listens(pod: Pod) -> None:
    assert complaint(pod.run(CLIPMODEL_HTTP="127.0.0.1:1")).startswith("clipmodel: Triton does not answer yet:")


def test_it_waits_for_a_server_that_still_loads(pod: Pod, triton: Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port opens while the program waits: at the first of its pauses, so that it must have been refused before."""
    late = ThreadingHTTPServer(("127.0.0.1", 0), triton.server.RequestHandlerClass, bind_and_activate=False)
    late.server_bind()
    thread = threading.Thread(target=late.serve_forever, kwargs={"poll_interval": 0.01})
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        # The file that is mounted when Triton has read its config counts, not that of when the program began.
        pod.versions.write_text(render(), "utf-8")
        late.server_activate()
        thread.start()

    pod.versions.unlink()
    pod.environment |= {"CLIPMODEL_HTTP": f"127.0.0.1:{late.server_port}", "CLIPMODEL_PATIENCE_S": "5"}
    monkeypatch.setattr(time, "sleep", pause)
    try:
        pod.run_here(monkeypatch)
    finally:
        if pauses:
            late.shutdown()
            thread.join()
        late.server_close()
    assert pauses == [0.1]
    assert triton.asked == BOTH


@pytest.mark.parametrize("fault", ["a wrong answer", "nothing to prove", "no file", "no key"])
def test_a_run_that_fails_takes_as_long_as_any_other(
    pod: Pod, triton: Triton, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Kubelet counts the runs that fail: shorter ones would bring the deadline nearer."""
    pauses: list[float] = []
    triton.answer = other_vector
    if fault == "nothing to prove":
        pod.versions.write_text("{}", "utf-8")
    if fault == "no file":
        pod.versions.unlink()
    if fault == "no key":
        pod.environment[CONTROL_KEY_VARIABLE] = ""
    del pod.environment["CLIPMODEL_PATIENCE_S"]
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    with pytest.raises(SystemExit):
        pod.run_here(monkeypatch)
    assert pauses == [STARTUP_RUN_S]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "No such file", id="it is not there"),
        pytest.param("no JSON", "not a versions.json", id="it is no JSON"),
        pytest.param('{"versions": {}}', "not a versions.json: KeyError('model')", id="it is another file"),
        pytest.param(render().replace('"proofs": {', '"proofs": {}, "x": {'), "names no version, so nothing can be proven", id="it proves nothing"),
        pytest.param(render().replace("0.98", "NaN"), "asks for a cosine of nan", id="by it everything would be right"),
    ],
)  # fmt: skip
def test_it_fails_where_its_file_says_nothing(pod: Pod, triton: Triton, text: str | None, said: str) -> None:
    if text is None:
        pod.versions.unlink()
    else:
        pod.versions.write_text(text, "utf-8")
    found = complaint(pod.run())
    assert found.startswith("clipmodel: versions.json cannot be read: ")
    assert said in found
    assert triton.asked == []


# What is loaded


def test_what_was_proven_before_is_right_where_it_is_loaded(pod: Pod, triton: Triton) -> None:
    triton.configs = [config(PREVIOUS, ["1"])]
    assert passes(pod.run())
    assert triton.asked == [(1, [0, 1])], "of the versions of that proof alone"


def test_a_loaded_config_that_nobody_has_proven_is_not_asked(pod: Pod, triton: Triton) -> None:
    triton.configs = [config(UNKNOWN)]
    said = complaint(pod.run())
    assert f"has loaded config {UNKNOWN}, and versions.json has no proof of it, only of {PREVIOUS}, {BOOT}." in said
    assert "up to 90 s after the config: the next run reads it again" in said
    assert triton.asked == []


@pytest.mark.parametrize("versions", [[1], [2], [1, 2, 3], []], ids=str)
def test_other_versions_than_were_proven_are_no_match(pod: Pod, triton: Triton, versions: list[int]) -> None:
    triton.configs = [config(versions=versions)]
    said = f"has loaded config {BOOT} with versions {versions}; its proof is of versions [1, 2]"
    assert said in complaint(pod.run())
    assert triton.asked == []


def test_each_proof_has_a_tolerance_of_its_own(pod: Pod, triton: Triton) -> None:
    turned = (1.0, 2.0, 3.0, 4.6)
    near = tuple(x * math.hypot(*VECTORS_1[0]) / math.hypot(*turned) for x in turned)
    assert 0.99 < golden.cosine(near, VECTORS_1[0]) < 0.999
    triton.answer = lambda h, *_: embeddings(h, (near, VECTORS_1[1]))
    triton.configs = [config(PREVIOUS, [1])]
    assert passes(pod.run())
    triton.configs = [config()]
    assert "version 1, golden image 0: cosine 0.99" in complaint(pod.run())


def test_without_a_key_it_says_what_is_missing(pod: Pod, triton: Triton) -> None:
    assert f"{CONTROL_KEY_VARIABLE} is not set" in complaint(pod.run(**{CONTROL_KEY_VARIABLE: ""}))
    del pod.environment[CONTROL_KEY_VARIABLE]
    assert f"{CONTROL_KEY_VARIABLE} is not set" in complaint(pod.run())
    assert triton.asked == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("another", f"(403): it wants another key than that in {CONTROL_KEY_VARIABLE}"),
        ("two\nlines", f"{CONTROL_KEY_VARIABLE} has characters that no header can have"),
        ("another \N{SNOWMAN}", f"{CONTROL_KEY_VARIABLE} has characters that no header can have"),
    ],
)
def test_a_key_that_does_not_open_is_not_said(pod: Pod, triton: Triton, key: str, said: str) -> None:
    found = complaint(pod.run(**{CONTROL_KEY_VARIABLE: key}))
    assert said in found
    assert key.split(maxsplit=1)[0] not in found.replace("another key", "")
    assert triton.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param((400, b'{"error":"Request for unknown model: \'clip\' is not found"}'), "asked for its config of clip, Triton says 400: ", id="not loaded"),
        pytest.param((200, b"\xff"), "the config of clip that Triton has loaded cannot be read: ", id="no JSON"),
        pytest.param({"version_policy": {"latest": {}}}, "cannot be read: not a config of this operator: KeyError('parameters')", id="not ours"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_told_is_none(pod: Pod, triton: Triton, answer: Any, said: str) -> None:
    triton.configs = [answer]
    assert said in complaint(pod.run())
    assert triton.asked == []


def test_a_config_that_is_loaded_while_it_asks_is_not_proven(pod: Pod, triton: Triton) -> None:
    triton.configs = [config(), config(PREVIOUS, [1])]
    assert "has loaded another config meanwhile" in complaint(pod.run())
    triton.configs = [config(), config(versions=[1])]
    assert "has loaded another config meanwhile" in complaint(pod.run())


@pytest.mark.parametrize(
    ("most", "asked"),
    [
        (32, BOTH),
        (2, BOTH),
        (1, [(1, [0]), (1, [1]), (2, [0]), (2, [1])]),
        (0, [(1, [0]), (1, [1]), (2, [0]), (2, [1])]),
        (None, [(1, [0]), (1, [1]), (2, [0]), (2, [1])]),
    ],
)
def test_a_batch_is_as_large_as_the_config_allows(
    pod: Pod, triton: Triton, most: int | None, asked: list[tuple[int, list[int]]]
) -> None:
    triton.configs = [config(max_batch_size=most)]
    assert passes(pod.run())
    assert triton.asked == asked
    triton.answer = lambda h, v, i: right(h, v, i) if 1 not in i else embeddings(h, [VECTORS_1[0]] * len(i))
    assert "version 1, golden image " in complaint(pod.run()), "each image is compared with its own vector"


def test_a_version_with_one_golden_vector_is_asked_for_one(pod: Pod, triton: Triton) -> None:
    pod.versions.write_text(render(vectors={SHA_2: VECTORS_OTHER[:1]}), "utf-8")
    assert passes(pod.run())
    assert triton.asked == [(1, [0, 1]), (2, [0])]
    triton.asked.clear()
    triton.configs = [config(max_batch_size=1)]
    assert passes(pod.run())
    assert triton.asked == [(1, [0]), (1, [1]), (2, [0])]


# Progress


def busy_with_2(handler: BaseHTTPRequestHandler, version: int, images: Sequence[int]) -> None:
    if version == 2:
        send(handler, 503, b"busy")
    else:
        right(handler, version, images)


def half_done(pod: Pod, triton: Triton) -> None:
    """Let a run get as far as version 2."""
    triton.answer = busy_with_2
    assert "version 2: Triton says 503: busy" in complaint(pod.run())
    assert triton.asked == BOTH
    triton.asked.clear()
    triton.answer = right


def test_a_run_that_is_cut_off_is_gone_on_with(pod: Pod, triton: Triton) -> None:
    """As kubelet does it, after 60 s: the process is killed."""
    reached, killed = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler, version: int, images: Sequence[int]) -> None:
        if version == 2:
            reached.set()
            assert killed.wait(30)
        else:
            right(handler, version, images)

    triton.answer = hang
    with subprocess.Popen(pod.command(), env={**os.environ, **pod.environment}) as process:
        assert reached.wait(30)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
        killed.set()
    triton.asked.clear()
    triton.answer = right
    assert passes(pod.run())
    assert triton.asked == [(2, [0, 1])]


def test_batches_of_one_are_gone_on_with_one_by_one(pod: Pod, triton: Triton) -> None:
    triton.configs = [config(PREVIOUS, [1], max_batch_size=1)]
    triton.answer = lambda h, v, i: right(h, v, i) if i == [0] else send(h, 503, b"busy")
    complaint(pod.run())
    triton.asked.clear()
    triton.answer = right
    assert passes(pod.run())
    assert triton.asked == [(1, [1])]


def test_who_runs_it_again_has_everything_asked(pod: Pod, triton: Triton) -> None:
    """By hand, in a pod that serves: what was right when it started says nothing of now."""
    half_done(pod, triton)
    assert passes(pod.run())
    assert list(pod.progress.parent.iterdir()) == []
    triton.asked.clear()
    assert passes(pod.run())
    assert triton.asked == BOTH


def test_a_difference_is_never_remembered(pod: Pod, triton: Triton) -> None:
    half_done(pod, triton)
    triton.answer = other_vector
    assert "version 2, golden image 0: cosine" in complaint(pod.run())
    assert triton.asked == [(2, [0, 1])]
    assert list(pod.progress.parent.iterdir()) == []
    triton.asked.clear()
    triton.answer = right
    assert passes(pod.run())
    assert triton.asked == BOTH, "who was wrong once is asked everything again"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pod, _: pod.start_triton(started=4712), id="Triton started anew"),
        pytest.param(lambda pod, _: pod.start_triton(boot="beef"), id="the machine started anew"),
        pytest.param(lambda pod, _: pod.start_triton(name="pause"), id="PID 1 is not Triton"),
        pytest.param(lambda pod, _: pod.versions.write_text(render(boot={1: SHA_OTHER, 2: SHA_2}, vectors={SHA_OTHER: VECTORS_1})), id="the digest is another"),
        pytest.param(lambda pod, _: pod.versions.write_text(render(min_cosine=0.999)), id="the tolerance is another"),
        pytest.param(lambda pod, _: pod.versions.write_text(render(vectors={SHA_1: [(1.0, 2.0, 3.0, 4.01), VECTORS_1[1]]})), id="the golden vectors are others"),
        pytest.param(lambda _, triton: triton.configs.__setitem__(0, config(PREVIOUS, [1])), id="the config is another"),
    ],
)  # fmt: skip
def test_progress_is_of_this_triton_and_this_proof_alone(
    pod: Pod, triton: Triton, change: Callable[[Pod, Triton], Any]
) -> None:
    pod.versions.write_text(render(previous_min_cosine=0.9999))
    half_done(pod, triton)
    change(pod, triton)
    assert passes(pod.run())
    assert triton.asked[0] == (1, [0, 1])


def test_progress_of_others_is_not_kept(pod: Pod, triton: Triton) -> None:
    half_done(pod, triton)
    before = json.loads(pod.progress.read_text())
    pod.start_triton(started=4712)
    half_done(pod, triton)
    after = json.loads(pod.progress.read_text())
    assert (len(before), len(after)) == (1, 1)
    assert before != after


@pytest.mark.parametrize("fault", ["no /proc", "PID 1 is not Triton", "no start", "no number", "too short", "no boot"])
def test_nothing_is_kept_where_it_cannot_be_told_which_triton_runs(pod: Pod, triton: Triton, fault: str) -> None:
    match fault:
        case "no /proc":
            pod.environment["CLIPMODEL_PROC"] = str(pod.proc / "none")
        case "PID 1 is not Triton":
            pod.start_triton(name="x) S (tritonserver")
        case "no start":
            pod.start_triton(started=0)
        case "no number":
            pod.start_triton(started="x")
        case "too short":
            (pod.proc / "1/stat").write_text("1 (tritonserver) S")
        case _:
            (pod.proc / "sys/kernel/random/boot_id").write_text("\n")
    half_done(pod, triton)
    assert list(pod.progress.parent.iterdir()) == []
    assert passes(pod.run())
    assert triton.asked == BOTH


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"1": true}', b"[[1], null]", b"[" * 100_000, b'["1", "2"]', b'"12"', b"null"]
)
def test_progress_that_cannot_be_read_is_none(pod: Pod, triton: Triton, content: bytes) -> None:
    pod.progress.write_bytes(content)
    assert passes(pod.run())
    assert triton.asked == BOTH


@pytest.mark.parametrize("fault", ["no folder", "a folder in its place", "a folder in the new one's place"])
def test_progress_that_cannot_be_written_fails_nothing(pod: Pod, triton: Triton, fault: str) -> None:
    match fault:
        case "no folder":
            pod.environment["CLIPMODEL_PROGRESS"] = str(pod.progress.parent / "none/progress.json")
        case "a folder in its place":
            (pod.progress / "x").mkdir(parents=True)
        case _:
            pod.progress.with_name("progress.json.new").mkdir()
    assert passes(pod.run())
    assert triton.asked == BOTH


def test_progress_is_written_whole_or_not_at_all(pod: Pod, triton: Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    half_done(pod, triton)
    before = pod.progress.read_bytes()
    triton.answer = lambda h, v, i: right(h, v, i) if v == 1 else send(h, 503, b"busy")
    pod.start_triton(started=4712)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pod.run_here(monkeypatch)
    assert pod.progress.read_bytes() == before


def test_a_request_that_would_be_cut_off_is_not_begun(
    pod: Pod, triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton finishes what is given up, and the next run's request would wait for that."""
    now = [1000.0]

    def slow(handler: BaseHTTPRequestHandler, version: int, images: Sequence[int]) -> None:
        now[0] += 30
        right(handler, version, images)

    triton.answer = slow
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with pytest.raises(SystemExit, match=r"1 of 2 requests were answered as proven .*; the next run goes on"):
        pod.run_here(monkeypatch)
    assert triton.asked == [(1, [0, 1])]
    pod.run_here(monkeypatch)
    assert triton.asked == BOTH


def test_a_server_that_hangs_is_given_up_before_kubelet_ends_the_run(pod: Pod, triton: Triton) -> None:
    surge = UpdateStrategy(has_surge=True, why="there is room")
    template = render_deployment(build_model(), RenderSettings(), control_secret="s", strategy=surge)  # noqa: S106 - a name
    probe = template["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert load_probe()["RUN_S"] < probe["timeoutSeconds"] - 3
    triton.goes_on.clear()
    pod.program.write_text(edit(STARTUP_PROBE, ("RUN_S = 55.0", "RUN_S = 0.0")), "utf-8")
    try:
        assert "Triton does not answer yet: timed out" in complaint(pod.run())
    finally:
        triton.goes_on.set()


SOURCES = [path.read_text("utf-8") for path in build_probe.SOURCES]
GOLDEN, MAIN = (
    next(i for i, p in enumerate(build_probe.SOURCES) if p.name == name) for name in ("golden.py", "main.py")
)


def edit(source: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    return source


def edit_source(index: int, *changes: tuple[str, str]) -> list[str]:
    return [edit(source, *changes) if i == index else source for i, source in enumerate(SOURCES)]


def test_it_is_the_contracts_code_and_the_main_program() -> None:
    assert build_probe.find_difference(STARTUP_PROBE, SOURCES) is None
    # What is committed is rendered; another release of Python or ruff may write the same code otherwise, and need not.
    built = build_probe.build_probe(SOURCES)
    assert build_probe.find_difference(built, SOURCES) is None


def test_a_comment_of_the_golden_check_does_not_reach_it() -> None:
    said = edit_source(
        GOLDEN,
        ("    norm, expected =", "    # Measured again on another day.\n    norm, expected ="),
        ('"""Give the cosine of two vectors of one length, neither of them zero."""', '"""Give the cosine."""'),
        ('"""A text that is no golden vector."""', '"""Not a golden vector."""\n\n    # Whatever it is.'),
        ('"""Golden images and the golden check:', '"""The golden check:'),
    )
    assert build_probe.find_difference(STARTUP_PROBE, said) is None, "nothing is written anew"
    assert build_probe.build_probe(said) == build_probe.build_probe(SOURCES)
    assert "Measured" not in build_probe.build_probe(said)


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
    other = edit_source(GOLDEN, change)
    assert "operator/clipmodel_contract/golden.py, " in str(build_probe.find_difference(STARTUP_PROBE, other))
    built = build_probe.build_probe(other)
    assert build_probe.find_difference(built, other) is None


def test_a_comment_of_the_program_does_not_reach_it_and_its_code_does() -> None:
    said = edit_source(
        MAIN, ("PATIENCE_S = 5.0", "# Measured again.\nPATIENCE_S = 5.0"), ('"""Prove; a run', '"""A run')
    )
    assert build_probe.find_difference(STARTUP_PROBE, said) is None, "nothing is written anew"
    assert build_probe.build_probe(said) == build_probe.build_probe(SOURCES)
    other = edit_source(MAIN, ("PATIENCE_S = 5.0", "PATIENCE_S = 6.0"))
    assert "clipmodel_probe/main.py" in str(build_probe.find_difference(STARTUP_PROBE, other))


@pytest.mark.parametrize(
    "again", ["def cosine():\n    pass", "class Proofs:\n    pass", "IMAGES = 1", "_DTYPE: str = 'x'"]
)
def test_a_name_that_two_sources_define_is_refused(again: str) -> None:
    """The later one would take the place of the other, in the pod alone."""
    with pytest.raises(
        ValueError, match=r"defined twice among the startup probe's sources: (cosine|Proofs|IMAGES|_DTYPE)"
    ):
        build_probe.join([*SOURCES, again])


def test_the_command_writes_what_is_stale_and_leaves_what_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [tmp_path / path.name for path in build_probe.SOURCES]
    for path, text in zip(sources, SOURCES, strict=True):
        path.write_text(text, "utf-8")
    probe = tmp_path / "probe.txt"
    monkeypatch.setattr(build_probe, "SOURCES", sources)
    monkeypatch.setattr(build_probe, "PROBE", probe)
    monkeypatch.setattr(build_probe, "ROOT", tmp_path)
    by_hand = edit(
        STARTUP_PROBE, ("    return (header + pixels, len(header))", "    return header + pixels, len(header)")
    )
    probe.write_text(by_hand, "utf-8")
    assert build_probe.main([]) == 0
    assert probe.read_text("utf-8") == by_hand, "the same code, in other words"
    sources[GOLDEN].write_text(edit(SOURCES[GOLDEN], ("MIN_COSINE = 0.9999", "MIN_COSINE = 0.999")), "utf-8")
    assert build_probe.main(["--check"]) == 1
    assert "make probe" in capsys.readouterr().err
    assert build_probe.main([]) == 0
    assert "MIN_COSINE = 0.999\n" in probe.read_text("utf-8")
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
