"""The light backend's own logic, without Triton: what it takes from a config, and how it answers.

What it does with real shared memory and real batches: test_light_image.py.
"""

import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from support.tiny_onnx import TinyOptions, write_tiny_onnx

SOURCE = Path(__file__).parents[2] / "triton_light" / "model.py"


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    array: npt.NDArray[Any]

    def as_numpy(self) -> npt.NDArray[Any]:
        return self.array


@dataclass(frozen=True, slots=True)
class Request:
    tensors: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ("embedding",)

    def requested_output_names(self) -> list[str]:
        return list(self.outputs)


@dataclass(frozen=True, slots=True)
class Response:
    output_tensors: tuple[Tensor, ...] | list[Tensor] = ()
    error: Exception | None = None


class TritonModelError(Exception):
    pass


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as Triton loads it, with stand-ins for what Triton's stub provides."""

    def get_input(request: Request, name: str) -> Tensor | None:
        return next((tensor for tensor in request.tensors if tensor.name == name), None)

    utilities = SimpleNamespace(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=Exception,
        TritonModelException=TritonModelError,
        Logger=SimpleNamespace(log_warn=lambda _: None),
        get_input_tensor_by_name=get_input,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    specification = importlib.util.spec_from_file_location("light_backend", SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def load(backend: ModuleType, root: Path, *, config: dict[str, Any] | None = None, **options: Any) -> Any:
    chosen: TinyOptions = {"image_size": 16, "dimension": 8, **options}  # type: ignore[typeddict-item]
    write_tiny_onnx(root / "1" / "model.onnx", **chosen)
    outputs = ["embedding", *([options["extra_output"]] if "extra_output" in options else [])]
    described: dict[str, Any] = {
        "max_batch_size": 8,
        "input": [{"name": "image"}],
        "output": [{"name": name} for name in outputs],
        **(config or {}),
    }
    model = backend.TritonPythonModel()
    model.initialize({"model_config": json.dumps(described), "model_repository": str(root), "model_version": "1"})
    return model


def ask(rows: int, seed: int = 0, *outputs: str, size: int = 16) -> Request:
    image = np.random.default_rng(seed).random((rows, 3, size, size), dtype=np.float32)
    return Request((Tensor("image", image),), outputs or ("embedding",))


def embedded(response: Response, name: str = "embedding") -> npt.NDArray[np.float32]:
    assert response.error is None
    [found] = [tensor.array for tensor in response.output_tensors if tensor.name == name]
    return found


def test_joined_requests_are_answered_as_if_alone(backend: ModuleType, tmp_path: Path) -> None:
    model = load(backend, tmp_path)
    requests = [ask(rows, seed) for seed, rows in enumerate([1, 3, 2])]
    for request, response in zip(requests, model.execute(requests), strict=True):
        [alone] = model.execute([request])
        np.testing.assert_allclose(embedded(response), embedded(alone), rtol=0, atol=1e-6)


def test_joined_requests_are_one_run(backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(backend, tmp_path)
    runs: list[int] = []
    real = model._run

    def run(outputs: list[str], inputs: dict[str, npt.NDArray[Any]]) -> Any:
        runs.append(len(inputs["image"]))
        return real(outputs, inputs)

    monkeypatch.setattr(model, "_run", run)
    model.execute([ask(1), ask(3, 1), ask(2, 2)])
    assert runs == [6]


def test_each_request_gets_the_outputs_that_it_asked_for(backend: ModuleType, tmp_path: Path) -> None:
    model = load(backend, tmp_path, extra_output="grid")
    both, one = model.execute([ask(2, 0, "grid", "embedding"), ask(1, 1, "grid")])
    assert [tensor.name for tensor in both.output_tensors] == ["embedding", "grid"]
    assert [tensor.name for tensor in one.output_tensors] == ["grid"]
    assert embedded(one, "grid").shape == (1, 48)


def test_only_the_request_that_cannot_run_fails(backend: ModuleType, tmp_path: Path) -> None:
    model = load(backend, tmp_path)
    good, bad, empty, last = model.execute([ask(1), ask(1, size=20), Request(()), ask(2, 1)])
    assert embedded(good).shape == (1, 8)
    assert embedded(last).shape == (2, 8)
    assert "ONNX Runtime" in str(bad.error)
    assert "'image'" in str(empty.error)


def test_without_batching_requests_are_not_joined(backend: ModuleType, tmp_path: Path) -> None:
    model = load(backend, tmp_path, config={"max_batch_size": 0}, batch=2)
    assert [embedded(answer).shape for answer in model.execute([ask(2), ask(2, 1)])] == [(2, 8), (2, 8)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"default_model_filename": "other.onnx"}, "other.onnx"),
        ({"input": [{"name": "pixels"}]}, "pixels"),
        ({"output": [{"name": "vector"}]}, "vector"),
        ({"parameters": {"intra_op_thread_count": {"string_value": "many"}}}, "many"),
    ],
)
def test_a_load_that_cannot_serve_says_why(
    backend: ModuleType, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(TritonModelError, match=words):
        load(backend, tmp_path, config=config)


def test_threads_are_those_of_the_config(backend: ModuleType) -> None:
    parameters = {"intra_op_thread_count": "3", "inter_op_thread_count": "2", "execution_mode": "1"}
    options = backend._session_options(parameters, instances=1)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == backend.onnxruntime.ExecutionMode.ORT_PARALLEL


@pytest.mark.parametrize(
    ("optimization", "level"),
    [
        ({}, "ORT_ENABLE_ALL"),
        ({"cuda": {"graphs": True}}, "ORT_ENABLE_ALL"),
        ({"graph": {"level": -1}}, "ORT_ENABLE_BASIC"),
        ({"graph": {"level": 1}}, "ORT_ENABLE_EXTENDED"),
        ({"graph": {"level": 2}}, "ORT_DISABLE_ALL"),
    ],
)
def test_the_graph_is_rewritten_as_far_as_the_config_says(
    backend: ModuleType, tmp_path: Path, optimization: dict[str, Any], level: str
) -> None:
    model = load(backend, tmp_path, config={"optimization": optimization})
    found = model._session.get_session_options().graph_optimization_level
    assert found == getattr(backend.onnxruntime.GraphOptimizationLevel, level)


@pytest.mark.parametrize(("cpus", "instances", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (1, 4, 1)])
def test_instances_share_the_cpus(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, cpus: int, instances: int, threads: int
) -> None:
    monkeypatch.setattr(backend, "usable_cpus", lambda: cpus)
    assert backend._session_options({}, instances=instances).intra_op_num_threads == threads


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu.max": "nonsense"}, 16),
    ],
)
def test_a_containers_share_of_the_cpus(
    backend: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert backend.usable_cpus(tmp_path) == expected


def test_telemetry_is_off_before_onnxruntime_is_loaded() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    assert text.index('os.environ["ORT_DISABLE_TELEMETRY"] = "1"') < text.index("import onnxruntime")
