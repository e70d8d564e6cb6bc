"""Does the light image serve what clipmodel-sync lays out, as a pod would have it, with ONNX Runtime's own numbers?

The volume is laid out by the real sync program. The container runs as the operator runs it: uid 1000, no capabilities, read-only root,
the repository read-only, the config mounted over `configs/`.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from clipmodel_sync import cli
from support.containers import docker, wait_for_line, wait_live
from support.tiny_onnx import TinyOptions, write_tiny_onnx

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

CONFIG = """
name: "{name}"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 32
input [ {{ name: "image" data_type: TYPE_FP32 dims: [ 3, {size}, {size} ] }} ]
output [ {outputs} ]
version_policy {{ specific {{ versions: [ 1 ] }} }}
dynamic_batching {{ preferred_batch_size: [ 4, 8, 16, 32 ] max_queue_delay_microseconds: 5000 }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
"""
EMBEDDING = '{ name: "embedding" data_type: TYPE_FP32 dims: [ 512 ] }'
GRID = '{ name: "grid" data_type: TYPE_FP32 dims: [ 48 ] }'

#: What the sample renders; tests/golden holds the two together.
CHECKED_IN = Path(__file__).parents[2] / "model_repository" / "openclip_vit_b32" / "config.pbtxt"

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="session")
def image() -> str:
    name = os.environ.get("CLIPMODEL_TRITON_IMAGE")
    if not name:
        pytest.fail(
            "CLIPMODEL_TRITON_IMAGE names no image. Run:\n"
            "  docker build --network host --target triton-light -t clipmodel-triton-light:dev .\n"
            "  CLIPMODEL_TRITON_IMAGE=clipmodel-triton-light:dev pytest -m triton tests/triton"
        )
    return name


@dataclass(frozen=True, slots=True)
class Repository:
    """Volumes as sync Jobs leave them, one for each model, and the configs that the operator would mount."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    def model_directory(self, name: str) -> Path:
        return self.root / name / "repository" / name

    def mounts(self, names: Iterable[str]) -> list[str]:
        found = []
        for name in names:
            found.append(f"--volume={self.model_directory(name)}:/models/{name}:ro")
            found.append(f"--volume={self.root / name / 'configs'}:/models/{name}/configs:ro")
            candidate = f"{name}__candidate"
            if (path := self.model_directory(name).parent / candidate).exists():
                found.append(f"--volume={path}:/models/{candidate}:ro")
        return found

    def add(self, name: str, *, outputs: str = EMBEDDING, **options: Unpack[TinyOptions]) -> Path:
        """Sync a tiny model to the volume and write its config; return the model's file."""
        (self.root / name).mkdir()
        tiny = write_tiny_onnx(self.source / "claim" / f"{name}.onnx", **options)
        arguments = {
            "volume": self.root / name,
            "source-root": self.source,
            "report": self.source / "report.json",
            "model": name,
            "version": 1,
            "uri": f"pvc://claim/{name}.onnx",
            "sha256": tiny.sha256,
            "input-name": "image",
            "image-size": options["image_size"],
            "output-name": "embedding",
            "dimension": 512,
        }
        assert cli.main([f"--{key}={value}" for key, value in arguments.items()]) == 0
        return self.configure(name, size=options["image_size"], outputs=outputs)

    def add_unproven(self, name: str, **options: Unpack[TinyOptions]) -> Path:
        """Put a model where sync would refuse to."""
        directory = self.model_directory(name)
        write_tiny_onnx(directory / "1" / "model.onnx", **options)
        (directory / "configs").mkdir()
        return self.configure(name, size=options["image_size"], outputs=EMBEDDING)

    def configure(self, name: str, *, size: int, outputs: str) -> Path:
        config = self.root / name / "configs" / "cpu.pbtxt"
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG.format(name=name, size=size, outputs=outputs))
        return self.model_directory(name) / "1" / "model.onnx"


@dataclass(frozen=True, slots=True)
class Server:
    """A running container."""

    address: str
    models: dict[str, Path]
    logs: Callable[[], str]

    def infer(self, name: str, images: Floats, outputs: tuple[str, ...] = ("embedding",)) -> list[Floats]:
        with triton.InferenceServerClient(self.address, network_timeout=60) as client:
            given = triton.InferInput("image", list(images.shape), "FP32")
            given.set_data_from_numpy(images)
            wanted = [triton.InferRequestedOutput(output) for output in outputs]
            result = client.infer(name, [given], outputs=wanted)
            return [result.as_numpy(output) for output in outputs]

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="session")
def server(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = Repository(tmp_path_factory.mktemp("triton"))
    models = {
        "tiny": repository.add("tiny", image_size=224),
        "pair": repository.add("pair", image_size=64, outputs=f"{EMBEDDING}, {GRID}", extra_output="grid", seed=3),
        # Runs batches of two and nothing else.
        "two": repository.add_unproven("two", image_size=32, batch=2),
        CHECKED_IN.parent.name: repository.add(CHECKED_IN.parent.name, image_size=224, seed=5),
    }
    (repository.root / CHECKED_IN.parent.name / "configs" / "cpu.pbtxt").write_text(CHECKED_IN.read_text())
    mounts = repository.mounts(models)
    loads = [f"--load-model={name}" for name in models]
    arguments = [
        *["run", "--detach", "--user=1000:1000", "--read-only", "--cap-drop=ALL"],
        *["--security-opt=no-new-privileges", "--tmpfs=/tmp", "--shm-size=256m", "--publish=127.0.0.1::8000"],
        *[*mounts, image, "tritonserver", "--model-repository=/models", "--model-control-mode=explicit", *loads],
        *["--disable-auto-complete-config", "--model-config-name=cpu"],
    ]
    container = docker(*arguments).strip()
    try:
        wait_for_line(container, "Started HTTPService")
        port = docker("port", container, "8000/tcp").split()[0].rpartition(":")[2]
        wait_live(f"127.0.0.1:{port}")
        yield Server(f"127.0.0.1:{port}", models, lambda: docker("logs", container))
    finally:
        docker("rm", "--force", "--volumes", container)


def run_directly(path: Path, images: Floats, outputs: tuple[str, ...] = ("embedding",)) -> list[Floats]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results: list[Floats] = session.run(list(outputs), {"image": images})
    return results


def pictures(batch: int, size: int, seed: int = 7) -> Floats:
    return np.random.default_rng(seed).random((batch, 3, size, size), dtype=np.float32)


def test_the_checked_in_config_is_loaded_as_it_stands(server: Server) -> None:
    """Under --disable-auto-complete-config: nothing in it is left for the server to fill in."""
    name = CHECKED_IN.parent.name
    images = pictures(4, 224)
    [served] = server.infer(name, images)
    [direct] = run_directly(server.models[name], images)
    assert served.shape == (4, 512)
    assert float(np.abs(served - direct).max()) <= 1e-5


@pytest.mark.parametrize("batch", [1, 4, 7, 32])
def test_served_embeddings_are_onnx_runtimes(server: Server, batch: int) -> None:
    images = pictures(batch, 224)
    [served] = server.infer("tiny", images)
    [direct] = run_directly(server.models["tiny"], images)
    assert served.shape == (batch, 512)
    np.testing.assert_allclose(served, direct, rtol=0, atol=1e-5)


def test_requests_that_triton_joins_get_their_own_rows(server: Server) -> None:
    sizes = [1, 3, 2, 5, 1, 4, 7, 1] * 4
    batches = [pictures(size, 224, seed) for seed, size in enumerate(sizes)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda images: server.infer("tiny", images)[0], batches))
    for images, served in zip(batches, answers, strict=True):
        np.testing.assert_allclose(served, run_directly(server.models["tiny"], images)[0], rtol=0, atol=1e-5)
    with urllib.request.urlopen(f"http://{server.address}/v2/models/tiny/stats", timeout=60) as response:
        stats = json.load(response)["model_stats"][0]
    assert stats["execution_count"] < stats["inference_count"], "no batch was run"


@pytest.mark.parametrize("outputs", [("embedding",), ("grid",), ("grid", "embedding")])
def test_several_outputs_are_given_as_asked_for(server: Server, outputs: tuple[str, ...]) -> None:
    images = pictures(3, 64)
    served = server.infer("pair", images, outputs)
    for found, expected in zip(served, run_directly(server.models["pair"], images, outputs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_request_that_cannot_run_takes_no_other_with_it(server: Server) -> None:
    def ask(batch: int) -> Floats | str:
        try:
            return server.infer("two", pictures(batch, 32))[0]
        except InferenceServerException as error:
            return str(error.message())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [2, 3] * 12))
    for good, bad in zip(answers[::2], answers[1::2], strict=True):
        assert isinstance(good, np.ndarray)
        assert good.shape == (2, 512)
        assert isinstance(bad, str)
        assert "ONNX Runtime" in bad


def test_the_candidate_name_loads_the_same_bytes(server: Server) -> None:
    config = {
        "name": "tiny__candidate",
        "backend": "onnxruntime",
        "default_model_filename": "model.onnx",
        "max_batch_size": 32,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 224, 224]}],
        "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [512]}],
        "version_policy": {"specific": {"versions": [1]}},
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
    path = "/v2/repository/models/tiny__candidate"
    assert server.post(f"{path}/load", {"parameters": {"config": json.dumps(config)}}) == (200, "")
    images = pictures(2, 224)
    np.testing.assert_allclose(
        server.infer("tiny__candidate", images)[0], server.infer("tiny", images)[0], rtol=0, atol=1e-5
    )
    assert server.post(f"{path}/unload", {}) == (200, "")


def test_a_load_with_a_wrong_tensor_name_fails_with_the_names(server: Server) -> None:
    config = {
        "name": "tiny__candidate",
        "backend": "onnxruntime",
        "max_batch_size": 32,
        "input": [{"name": "pixels", "data_type": "TYPE_FP32", "dims": [3, 224, 224]}],
        "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [512]}],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
    status, text = server.post(
        "/v2/repository/models/tiny__candidate/load", {"parameters": {"config": json.dumps(config)}}
    )
    assert status == 400
    assert re.search(r"has the inputs \['image'\], the config also names \['pixels'\]", text)


def test_the_image_is_set_up_for_a_restricted_pod(image: str) -> None:
    [config] = json.loads(docker("image", "inspect", image))
    assert config["Config"]["User"] == "1000:1000"
    assert {"ORT_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_TELEMETRY=1"} <= set(config["Config"]["Env"])
