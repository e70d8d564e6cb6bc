"""Every way to weights and every refusal, with real torch and OpenCLIP, on an architecture that takes a second.

Its shape (32 x 32 pictures, 24 numbers) is registered with OpenCLIP for these tests only.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from typing_extensions import override

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import numpy as np

from clipmodel_contract.tensors import Tensors
from clipmodel_export import verify
from clipmodel_export.errors import (
    CheckpointError,
    ExitCode,
    OutputExistsError,
    QuickGeluError,
    UnknownModelError,
    VerificationError,
    WeightsUnreachableError,
)
from clipmodel_export.golden import render_golden_images
from clipmodel_export.model import (
    CheckpointFile,
    CheckResult,
    ExportRequest,
    PretrainedTag,
    RandomWeights,
    Weights,
)
from clipmodel_export.pipeline import quiet_libraries, run_export
from clipmodel_export.writing import compute_sha256

if TYPE_CHECKING:
    from clipmodel_export.model import Exported

pytestmark = [pytest.mark.export, pytest.mark.timeout(600)]

ARCHITECTURE = "clipmodel-test"
CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}
# OpenCLIP's defaults, written out here so that a change in either place is seen.
MEAN = np.array((0.48145466, 0.4578275, 0.40821073)).reshape(1, 3, 1, 1)
STD = np.array((0.26862954, 0.26130258, 0.27577711)).reshape(1, 3, 1, 1)


HUB_FILE = "/someone/model/resolve/main/open_clip_pytorch_model.bin"


class Recorder:
    """A `pipeline.Reporter` that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.checks: list[CheckResult] = []

    @contextmanager
    def step(self, title: str, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
        done: list[int] = []
        self.said.append(title)
        yield done.append
        assert total is None or sum(done) == total

    @contextmanager
    def step_with_own_bar(self, title: str) -> Iterator[None]:
        self.said.append(title)
        yield

    def note(self, text: str) -> None:
        self.said.append(text)

    def show_checks(self, results: Sequence[CheckResult]) -> None:
        self.checks += results


@pytest.fixture(scope="module", autouse=True)
def config_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip

    folder = tmp_path_factory.mktemp("configs")
    (folder / f"{ARCHITECTURE}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    return folder


def build_model(*, quick_gelu: bool = False, seed: int = 11) -> Any:
    import open_clip
    import torch

    torch.manual_seed(seed)
    with quiet_libraries():
        return open_clip.create_model(ARCHITECTURE, pretrained=None, quick_gelu=quick_gelu).eval()


def save_checkpoint(path: Path, *, quick_gelu: bool = False) -> Any:
    import torch

    model = build_model(quick_gelu=quick_gelu)
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, path)
    return model


def run(
    output: Path,
    weights: Weights,
    *,
    quick_gelu: bool | None = None,
    test: bool = False,
    force: bool = False,
    architecture: str = ARCHITECTURE,
    recorder: Recorder | None = None,
) -> "Exported":
    request = ExportRequest(
        architecture=architecture,
        weights=weights,
        output=output,
        quick_gelu=quick_gelu,
        test=test,
        force=force,
    )
    with quiet_libraries():
        return run_export(request, recorder or Recorder())


def embed(path: Path, count: int = 3) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"image": render_golden_images(count, size=32)})[0]


def embed_with_open_clip(model: Any, count: int = 3) -> Any:
    import torch

    images = ((render_golden_images(count, size=32) - MEAN) / STD).astype(np.float32)
    with torch.inference_mode():
        return model.encode_image(torch.from_numpy(images)).numpy()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, config_folder: Path) -> "Exported":  # noqa: ARG001 - it knows the architecture
    """Random weights of seed 3, exported and verified once for all tests that begin with them."""
    return run(tmp_path_factory.mktemp("first") / "model.onnx", RandomWeights(3), test=True)


def copied(first: "Exported", output: Path) -> Path:
    """Give a copy that a test may do with as it likes."""
    shutil.copy(first.path, output)
    return output


def test_random_weights_are_the_seed(first: "Exported", tmp_path: Path) -> None:
    again = run(tmp_path / "2.onnx", RandomWeights(3))
    other = run(tmp_path / "3.onnx", RandomWeights(4))
    assert first.sha256 == again.sha256 != other.sha256
    assert first.tensors == Tensors(image_size=32, dimension=24)
    assert first.is_random
    assert all(check.passed for check in first.checks)
    assert len(first.checks) == verify.IN_TOTAL
    assert np.abs(embed(first.path) - embed(other.path)).max() > 0.01


def test_the_callers_random_generator_is_left_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(99)
    before = torch.get_rng_state()
    run(tmp_path / "model.onnx", RandomWeights(3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_checkpoint_file_is_what_is_exported(tmp_path: Path, *, quick_gelu: bool) -> None:
    model = save_checkpoint(tmp_path / "mine.pt", quick_gelu=quick_gelu)
    exported = run(tmp_path / "model.onnx", CheckpointFile(tmp_path / "mine.pt"), quick_gelu=quick_gelu, test=True)
    np.testing.assert_allclose(embed(exported.path), embed_with_open_clip(model), atol=1e-5)
    assert exported.metadata["clipmodel.quickgelu"] == str(quick_gelu).lower()
    assert exported.metadata["clipmodel.weights"] == "file mine.pt"
    assert len(exported.metadata["clipmodel.checkpoint_sha256"]) == 64
    assert not exported.is_random


def test_the_wrong_activation_is_another_model(tmp_path: Path) -> None:
    """What the question about QuickGELU is for: this passes every check and is wrong."""
    model = save_checkpoint(tmp_path / "mine.pt", quick_gelu=True)
    exported = run(tmp_path / "model.onnx", CheckpointFile(tmp_path / "mine.pt"), quick_gelu=False, test=True)
    assert np.abs(embed(exported.path) - embed_with_open_clip(model)).max() > 1e-3


def test_a_checkpoint_that_does_not_say_its_activation_is_asked_about(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mine.pt")
    with pytest.raises(QuickGeluError):
        run(tmp_path / "model.onnx", CheckpointFile(tmp_path / "mine.pt"))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_a_torchscript_archive_is_read_as_openais(tmp_path: Path) -> None:
    """OpenAI's files: TorchScript, FP16, QuickGELU, and three numbers among the weights."""
    import torch

    model = build_model(quick_gelu=True).half()

    class Archive(torch.nn.Module):
        """Anything that can be scripted, with the names of the weights at its top."""

        @override
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    archive = Archive()
    for name, value in model.state_dict().items():
        place: torch.nn.Module = archive
        *parents, leaf = name.split(".")
        for parent in parents:
            if not hasattr(place, parent):
                place.add_module(parent, Archive())
            place = getattr(place, parent)
        place.register_buffer(leaf, value)
    for name in ("input_resolution", "context_length", "vocab_size"):
        archive.register_buffer(name, torch.tensor(32))
    script: Any = torch.jit.script
    script(archive).save(tmp_path / "ViT-B-32.pt")

    exported = run(tmp_path / "model.onnx", CheckpointFile(tmp_path / "ViT-B-32.pt"), test=True)
    assert exported.activation == "QuickGELU"
    np.testing.assert_allclose(embed(exported.path), embed_with_open_clip(model.float()), atol=1e-5)


@pytest.mark.parametrize("content", ["junk", "empty", "another architecture", "truncated"])
def test_what_is_no_checkpoint_of_this_architecture_is_said(tmp_path: Path, content: str) -> None:
    import torch

    path = tmp_path / "mine.pt"
    save_checkpoint(path)
    match content:
        case "junk":
            path.write_bytes(b"junk" * 100)
        case "empty":
            path.write_bytes(b"")
        case "another architecture":
            torch.save({"state_dict": {"visual.proj": torch.zeros(2, 2)}}, path)
        case _:
            path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"mine\.pt cannot be loaded into clipmodel-test") as caught:
        run(tmp_path / "model.onnx", CheckpointFile(path), quick_gelu=False)
    assert len(str(caught.value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt"]


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    import torch

    class Evil:
        @override
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        run(tmp_path / "model.onnx", CheckpointFile(tmp_path / "evil.pt"), quick_gelu=False)
    assert not (tmp_path / "owned").exists()


def test_unknown_names_come_with_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError) as caught:
        run(tmp_path / "model.onnx", RandomWeights(0), architecture="ViT-B-33")
    assert "ViT-B-32" in caught.value.advice
    with pytest.raises(UnknownModelError) as caught:
        run(tmp_path / "model.onnx", PretrainedTag("laion2b_s34b_b79"), architecture="ViT-B-32")
    assert "laion2b_s34b_b79k" in caught.value.advice


def test_the_same_model_again_is_left_and_another_needs_force(first: "Exported", tmp_path: Path) -> None:
    output = copied(first, tmp_path / "model.onnx")
    inode = output.stat().st_ino
    assert run(output, RandomWeights(3)).unchanged
    assert output.stat().st_ino == inode
    with pytest.raises(OutputExistsError, match="random seed=3; wanted random seed=4"):
        run(output, RandomWeights(4))
    assert run(output, RandomWeights(4), force=True).sha256 != first.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_same_name_other_bytes_is_seen_in_the_end(first: "Exported", tmp_path: Path) -> None:
    """Metadata that agrees is no proof: the digest decides."""
    import onnx

    output = copied(first, tmp_path / "model.onnx")
    proto = onnx.load(str(output))
    proto.graph.name = "tampered"
    output.write_bytes(proto.SerializeToString())
    with pytest.raises(OutputExistsError, match="other bytes"):
        run(output, RandomWeights(3))
    assert onnx.load(str(output)).graph.name == "tampered"


def test_a_model_that_fails_is_not_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph gets a wrong standard deviation; the reference, computed apart, finds it."""
    from clipmodel_export import tower

    build = tower.build_exportable

    def build_wrong(of: tower.ImageTower) -> Any:
        module = build(of)
        std: Any = module.std
        std.mul_(1.02)
        return module

    monkeypatch.setattr("clipmodel_export.convert.build_exportable", build_wrong)
    recorder = Recorder()
    with pytest.raises(VerificationError) as caught:
        run(tmp_path / "model.onnx", RandomWeights(3), test=True, recorder=recorder)
    assert caught.value.exit_code == ExitCode.VERIFICATION_FAILED
    failed = {check.name for check in recorder.checks if not check.passed}
    assert failed == {f"PyTorch, batch {batch}" for batch in verify.BATCHES}
    assert list(tmp_path.iterdir()) == []


def test_a_hub_out_of_reach_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants
    import open_clip

    def never(_: object) -> None:
        pytest.fail("a download was tried without a hub")

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(open_clip, "download_pretrained", never)
    with pytest.raises(WeightsUnreachableError) as caught:
        run(tmp_path / "model.onnx", PretrainedTag("laion2b_s34b_b79k"), architecture="ViT-B-32")
    assert caught.value.exit_code == ExitCode.TRY_AGAIN
    assert "'laion2b_s34b_b79k' of ViT-B-32" in str(caught.value)
    assert "--pretrained FILE --no-quickgelu" in caught.value.advice
    assert "--random-weights" in caught.value.advice


class Hub(BaseHTTPRequestHandler):
    """A weights hub with one file in it."""

    content = b""
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, *, send: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        found = self.path == HUB_FILE
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        if found:
            self.send_header("ETag", '"0123456789"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if found and send:
            self.wfile.write(self.content)

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_tag_is_fetched_once_and_its_table_entry_obeyed(
    tmp_path: Path, config_folder: Path, hub: ThreadingHTTPServer, first: "Exported"
) -> None:
    """The whole way of a tag, against a hub of our own: the download, QuickGELU from the table, then the cache."""
    model = save_checkpoint(tmp_path / "weights.bin", quick_gelu=True)
    Hub.content = (tmp_path / "weights.bin").read_bytes()
    # In a process of its own: the hub's address is read when the library is imported.
    code = (
        "import open_clip\n"
        "from clipmodel_export.cli import app\n"
        f"open_clip.add_model_config({str(config_folder)!r})\n"
        "from open_clip.pretrained import _PRETRAINED, _pcfg\n"
        f"_PRETRAINED[{ARCHITECTURE!r}] = {{'mine': _pcfg(hf_hub='someone/model/', quick_gelu=True)}}\n"
        "for output in ('1.onnx', '2.onnx'):\n"
        f"    app(['--architecture', {ARCHITECTURE!r}, '--pretrained', 'mine', '-o', output],"
        " standalone_mode=False)\n"
        f"app(['--architecture', {ARCHITECTURE!r}, '--random-weights', '--seed', '3', '-o', '3.onnx'],"
        " standalone_mode=False)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2] / "export"),
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
            "HF_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("weights     pretrained mine") == 2
    assert result.stdout.count("activation  QuickGELU") == 2
    assert Hub.asked.count("HEAD /someone/model") == 1
    assert Hub.asked.count(f"GET {HUB_FILE}") == 1
    np.testing.assert_allclose(embed(tmp_path / "1.onnx"), embed_with_open_clip(model), atol=1e-5)
    assert (tmp_path / "2.onnx").read_bytes() == (tmp_path / "1.onnx").read_bytes()
    # While a second process is here: the same seed gives the same bytes in it.
    assert compute_sha256(tmp_path / "3.onnx") == first.sha256
