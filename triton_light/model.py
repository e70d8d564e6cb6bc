"""The backend `onnxruntime` of the light Triton image: PyPI's ONNX Runtime on the CPU, a session each.

It serves the same repository and config.pbtxt as the C++ backend of NVIDIA's images, for laptops, demos and
tests. What it reads of a config, by the C++ backend's names: inputs, outputs, `default_model_filename`,
`max_batch_size`, the parameters `intra_op_thread_count`, `inter_op_thread_count` and `execution_mode`
(1: parallel), and `optimization { graph { level } }`. Other parameters, and what else `optimization` has, are ignored.

Triton joins requests into the batches that this gets; they are run as one, and one by one only where that
fails, so that a request that cannot be run takes no other with it.
"""
# ruff: noqa: INP001 - Triton loads this one file by its path, it is no package

import json
import os

# Before onnxruntime is loaded, or PyPI's build sends telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # made by Triton's stub

Arrays = dict[str, npt.NDArray[Any]]

# The C++ backend's numbers; any other one leaves everything on, as there.
_GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class Request(Protocol):
    """What of a request is used here besides its tensors."""

    def requested_output_names(self) -> list[str]: ...


class TritonPythonModel:
    """One model instance: Triton makes it, and calls it from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version; what is raised here is Triton's reason why the load failed."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        self._inputs: list[str] = [tensor["name"] for tensor in config["input"]]
        self._outputs: list[str] = [tensor["name"] for tensor in config["output"]]
        # Without batching a request is a run of its own: there is no first dimension to join them by.
        self._is_batched = int(config.get("max_batch_size", 0)) > 0
        path = Path(
            args["model_repository"],
            args["model_version"],
            config.get("default_model_filename") or "model.onnx",
        )
        try:
            options = _session_options(parameters, instances=_instance_count(config), graph_level=_graph_level(config))
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise pb_utils.TritonModelException(f"ONNX Runtime cannot load {path}: {error}") from error
        self._check_names(path)

    def execute(self, requests: Sequence[Request]) -> list[object]:
        """Answer each request; the list is as long as what came in, whatever failed."""
        if self._is_batched and len(requests) > 1:
            try:
                return self._answer_together(requests)
            except Exception as error:  # noqa: BLE001 - which of them it was shows when they run alone
                pb_utils.Logger.log_warn(
                    f"a batch of {len(requests)} requests failed, running them one by one: {error}"
                )
        return [self._answer_alone(request) for request in requests]

    def _check_names(self, path: Path) -> None:
        """Say at load, not at the first request, that the config names tensors that are not there."""
        found = {
            "input": ([tensor.name for tensor in self._session.get_inputs()], self._inputs),
            "output": ([tensor.name for tensor in self._session.get_outputs()], self._outputs),
        }
        for kind, (names, expected) in found.items():
            if missing := sorted(set(expected) - set(names)):
                raise pb_utils.TritonModelException(f"{path} has the {kind}s {names}, the config also names {missing}")

    def _answer_together(self, requests: Sequence[Request]) -> list[object]:
        parts = [self._read(request) for request in requests]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in self._inputs}
        wanted = self._wanted(requests)
        results = self._run(wanted, joined)
        answers, start = [], 0
        for request, part in zip(requests, parts, strict=True):
            end = start + len(part[self._inputs[0]])
            # Slices along the first dimension lie in one piece: Tensor copies them once, into shared memory.
            answers.append(_answer(request, {name: result[start:end] for name, result in results.items()}))
            start = end
        return answers

    def _answer_alone(self, request: Request) -> object:
        try:
            return _answer(request, self._run(self._wanted([request]), self._read(request)))
        except Exception as error:  # noqa: BLE001 - the client is told, all others go on
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"ONNX Runtime: {error}"))

    def _read(self, request: Request) -> Arrays:
        """Give the request's tensors: views of shared memory, not copies."""
        found = {}
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise ValueError(f"the request has no input {name!r}")
            found[name] = tensor.as_numpy()
        return found

    def _wanted(self, requests: Sequence[Request]) -> list[str]:
        """Give the outputs that any of the requests asked for, in the config's order."""
        asked = {name for request in requests for name in request.requested_output_names()}
        return [name for name in self._outputs if name in asked]

    def _run(self, outputs: list[str], inputs: Arrays) -> Arrays:
        return dict(zip(outputs, self._session.run(outputs, inputs), strict=True))


def _answer(request: Request, results: Arrays) -> object:
    wanted = request.requested_output_names()
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, results[name]) for name in results if name in wanted])


def _session_options(parameters: dict[str, str], *, instances: int, graph_level: int = 0) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    threads = int(parameters.get("intra_op_thread_count", "0"))
    options.intra_op_num_threads = threads or max(1, usable_cpus() // instances)
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", "0"))
    if parameters.get("execution_mode") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.graph_optimization_level = _GRAPH_LEVELS.get(graph_level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    return options


def _graph_level(config: dict[str, Any]) -> int:
    return int(config.get("optimization", {}).get("graph", {}).get("level", 0))


def _instance_count(config: dict[str, Any]) -> int:
    return max(1, sum(int(group.get("count", 1)) for group in config.get("instance_group", [])))


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPUs that this container may use. ONNX Runtime would count the node's, and be throttled for it."""
    cpus = len(os.sched_getaffinity(0))
    # cgroup v2 has both numbers in one file, v1 in two.
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            words = " ".join((cgroup / file).read_text() for file in files).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # the other version, or "max": no limit
            continue
        if quota > 0 and period > 0:
            return max(1, min(cpus, -(-quota // period)))
    return cpus
