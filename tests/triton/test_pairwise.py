"""Does Triton take every configuration that the API admits, and serve right embeddings with it?

Every two settings meet in one of more than 200 specs. Each is rendered for both profiles, as text and as JSON; both are parsed with Triton's
own protobuf. The configuration for the CPU is then loaded by the real server, without auto-complete: one half by the load call's JSON, as the
operator does in running servers, the other half from the annotated file, as a pod that starts does. What the server says that it runs is
compared with what was rendered, and golden images are embedded through it. KIND_GPU needs a GPU: it is parsed only.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # has no types of its own
from tritonclient import http as triton
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from clipmodel_contract import golden
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES, Profile
from clipmodel_operator.rendering.config_pbtxt import render_config, render_config_pbtxt
from support.builders import build_model
from support.containers import docker, wait_for_line, wait_live
from support.specs import pairwise_specs
from support.tiny_onnx import write_tiny_onnx

pytestmark = [pytest.mark.triton, pytest.mark.timeout(900)]

SPECS = pairwise_specs()
SIZE, DIMENSION = 224, 512

Floats = npt.NDArray[np.float32]


def model_of(spec: dict[str, Any]) -> ClipModel:
    return build_model(spec)


def test_there_are_enough() -> None:
    assert len(SPECS) >= 200
    assert len({json.dumps(spec, sort_keys=True) for spec in SPECS}) == len(SPECS)


@pytest.mark.parametrize("profile", SERVED_PROFILES)
def test_text_and_json_are_the_same_model_config(profile: Profile) -> None:
    for spec in SPECS:
        model = model_of(spec)
        text = text_format.Parse(render_config_pbtxt(model, versions=[1, 3], profile=profile), ModelConfig())
        said = json_format.ParseDict(render_config(model, versions=[1, 3], profile=profile), ModelConfig())
        assert text == said, spec


def test_what_is_asked_for_is_in_it() -> None:
    """One spec with everything, value by value: that text and JSON agree says nothing of a field that both leave out."""
    spec = SPECS[0] | {
        "profile": "gpu",
        "batching": {
            "maxBatchSize": 16,
            "preferredBatchSizes": [16, 2],
            "maxQueueDelay": "1.5ms",
            "priorityLevels": 3,
            "defaultPriorityLevel": 2,
            "queuePolicy": {
                "maxQueueSize": 9,
                "timeoutAction": "Delay",
                "defaultTimeout": "2s",
                "allowTimeoutOverride": True,
            },
        },
        "instances": {"count": 2, "gpus": [1, 0]},
        "optimization": {"intraOpThreads": 3, "interOpThreads": 2, "graphLevel": "Extended"},
        "serving": {"gpu": {"count": 2}},
    }
    config = text_format.Parse(render_config_pbtxt(model_of(spec), versions=[1]), ModelConfig())
    batching, policy = config.dynamic_batching, config.dynamic_batching.default_queue_policy
    assert config.max_batch_size == 16
    assert list(batching.preferred_batch_size) == [2, 16]
    assert batching.max_queue_delay_microseconds == 1500
    assert (batching.priority_levels, batching.default_priority_level) == (3, 2)
    assert (policy.max_queue_size, policy.timeout_action) == (9, 1)
    assert (policy.default_timeout_microseconds, policy.allow_timeout_override) == (2_000_000, True)
    [group] = config.instance_group
    assert (list(group.gpus), group.count) == ([0, 1], 2)
    assert config.optimization.graph.level == 1
    assert config.optimization.cuda.graphs
    found = {key: value.string_value for key, value in config.parameters.items()}
    assert found["intra_op_thread_count"] == "3"
    assert (found["inter_op_thread_count"], found["execution_mode"]) == ("2", "1")


@dataclass(frozen=True, slots=True)
class Repository:
    """Model directories with one file of weights, and a config for each that comes from a file."""

    root: Path

    def add(self, model: ClipModel, *, weights: Path, text: str | None) -> None:
        directory = self.root / model.model_name
        (directory / "1").mkdir(parents=True)
        # Not a link to a file outside: the container sees this folder alone.
        os.link(weights, directory / "1" / "model.onnx")
        if text is not None:
            (directory / "configs").mkdir()
            (directory / "configs" / "cpu.pbtxt").write_text(text)


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    weights: Path

    def load(self, model: ClipModel, config: dict[str, Any] | None) -> None:
        """Load by the configuration that is given, or by the file in the model's directory."""
        body = {"parameters": {"config": json.dumps(config)}} if config is not None else {}
        self._post(f"/v2/repository/models/{model.model_name}/load", body)

    def unload(self, model: ClipModel) -> None:
        self._post(f"/v2/repository/models/{model.model_name}/unload", {})

    def config(self, model: ClipModel) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.address}/v2/models/{model.model_name}/config", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def embed(self, model: ClipModel, images: Floats) -> Floats:
        with triton.InferenceServerClient(self.address, network_timeout=60) as client:
            given = triton.InferInput("image", list(images.shape), "FP32")
            given.set_data_from_numpy(images)
            found: Floats = client.infer(model.model_name, [given]).as_numpy("embedding")
            return found

    def _post(self, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode())
        try:
            urllib.request.urlopen(request, timeout=120).close()  # noqa: S310 - our own server
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error


@pytest.fixture(scope="module")
def image() -> str:
    name = os.environ.get("CLIPMODEL_TRITON_IMAGE")
    if not name:
        pytest.fail("CLIPMODEL_TRITON_IMAGE names no image: `make cluster-test` builds it and sets it", pytrace=False)
    return name


def is_from_file(index: int) -> bool:
    return index % 2 == 1


@pytest.fixture(scope="module")
def server(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("pairwise")
    weights = write_tiny_onnx(root / "tiny.onnx", image_size=SIZE, dimension=DIMENSION, seed=5).path
    repository = Repository(root / "models")
    for index, spec in enumerate(SPECS):
        model = model_of(spec)
        text = render_config_pbtxt(model, versions=[1], profile=Profile.CPU) if is_from_file(index) else None
        repository.add(model, weights=weights, text=text)
    repository.root.chmod(0o755)
    container = docker(
        *["run", "--detach", "--user=1000:1000", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"],
        *["--tmpfs=/tmp", "--shm-size=512m", "--publish=127.0.0.1::8000", f"--volume={repository.root}:/models:ro"],
        *[image, "tritonserver", "--model-repository=/models", "--model-control-mode=explicit"],
        *["--disable-auto-complete-config", "--model-config-name=cpu"],
    ).strip()
    try:
        wait_for_line(container, "Started HTTPService")
        port = docker("port", container, "8000/tcp").split()[0].rpartition(":")[2]
        wait_live(f"127.0.0.1:{port}")
        yield Server(f"127.0.0.1:{port}", weights)
    finally:
        docker("rm", "--force", "--volumes", container)


def golden_images(count: int) -> Floats:
    """Give as many golden images as a batch takes, in turn."""
    images = [
        np.frombuffer(golden.golden_image(i, SIZE), dtype="<f4").reshape(3, SIZE, SIZE)
        for i in range(golden.IMAGE_COUNT)
    ]
    return np.stack([images[i % len(images)] for i in range(count)])


@pytest.fixture(scope="module")
def proven(server: Server) -> Floats:
    """The golden embeddings by ONNX Runtime itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(server.weights), providers=["CPUExecutionProvider"])
    [vectors] = session.run(["embedding"], {"image": golden_images(golden.IMAGE_COUNT)})
    found: Floats = vectors
    return found


def as_asked(config: ModelConfig) -> ModelConfig:
    """Leave out what the server adds, so that what is left can be compared with what was asked for."""
    kept = ModelConfig()
    kept.CopyFrom(config)
    for field in ("platform", "runtime"):
        kept.ClearField(field)
    for group in kept.instance_group:
        group.ClearField("name")
        group.ClearField("host_policy")
    for field in (
        "input_pinned_memory",
        "output_pinned_memory",
        "priority",
        "gather_kernel_buffer_threshold",
        "eager_batching",
    ):
        kept.optimization.ClearField(field)
    if not kept.optimization.ByteSize():
        kept.ClearField("optimization")
    return kept


@pytest.mark.parametrize("index", range(len(SPECS)), ids=[spec["modelName"] for spec in SPECS])
def test_the_real_server_loads_it_and_embeds(index: int, server: Server, proven: Floats) -> None:
    model = model_of(SPECS[index])
    config = render_config(model, versions=[1], profile=Profile.CPU)
    server.load(model, None if is_from_file(index) else config)
    try:
        runs = json_format.ParseDict(server.config(model), ModelConfig(), ignore_unknown_fields=True)
        assert as_asked(runs) == as_asked(json_format.ParseDict(config, ModelConfig()))
        # A batch of a preferred size runs at once: a smaller one would wait for a delay of up to 10 s.
        size = min(model.spec.batching.effective_preferred_batch_sizes)
        served = server.embed(model, golden_images(size))
    finally:
        server.unload(model)
    for row, vector in enumerate(served):
        difference = golden.difference(tuple(vector), tuple(proven[row % golden.IMAGE_COUNT]))
        assert difference is None, f"{difference}, with {json.dumps(SPECS[index])}"
    assert len(served) == size


def test_a_full_queue_refuses_at_once(server: Server) -> None:
    """maxQueueSize is more than a number that the server repeats."""
    batching = {
        "maxBatchSize": 32,
        "preferredBatchSizes": [32],
        "maxQueueDelay": "3s",
        "queuePolicy": {"maxQueueSize": 1},
    }
    model = model_of(SPECS[0] | {"batching": batching})
    server.load(model, render_config(model, versions=[1], profile=Profile.CPU))

    def ask(_: int) -> str:
        try:
            server.embed(model, golden_images(1))
        except InferenceServerException as error:
            return str(error.message())
        return "embedded"

    try:
        with ThreadPoolExecutor(4) as pool:
            answers = sorted(pool.map(ask, range(4)))
    finally:
        server.unload(model)
    # One waits for company; whoever comes meanwhile finds the queue full.
    assert answers.count("embedded") == 1
    assert all("maximum queue size" in answer for answer in answers if answer != "embedded"), answers
