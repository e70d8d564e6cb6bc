"""A real Triton in a container whose loads take as long, fail with what words, or fill as much memory as a test says.

The light image, with a few lines behind its backend: what a load does follows from parameters of the config that is loaded.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from support.containers import docker, wait_for_line, wait_live

BACKEND = Path(__file__).parents[2] / "triton_light" / "model.py"
# The last definition of TritonPythonModel is the one that Triton takes.
_BEHIND_IT = """
import time as _time

class TritonPythonModel(TritonPythonModel):
    def initialize(self, args):
        said = {name: value["string_value"] for name, value in json.loads(args["model_config"])["parameters"].items()}
        _time.sleep(float(said.get("test.sleep_s", "0")))
        if args["model_version"] in said.get("test.late", "").split(","):
            _time.sleep(0.4)
        if words := said.get("test.fails"):
            raise pb_utils.TritonModelException(words * int(said.get("test.times", "1")))
        self._fill = []
        for _ in range(int(said.get("test.fill_mib", "0"))):
            self._fill.append(bytes([1]) * 2**20)
            _time.sleep(0.002)  # or the kernel's count of memory jumps past the limit before the other process was seen to grow
        super().initialize(args)
"""

SIZE, DIMENSION = 16, 16
_IMAGE = [(i * 7919) % 255 / 255 for i in range(3 * SIZE * SIZE)]
_LONGEST_S = 60

Config = dict[str, Any]


def build_config(
    model: str, versions: Sequence[int], name: str, *, sleep_s: float = 0, delay_us: int = 100, **test: object
) -> Config:
    """Build what a load sends. `name` is told by `Triton.config_name`; `test` are the parameters of the lines behind the backend."""
    parameters = {CONFIG_ID_PARAMETER: name, "intra_op_thread_count": "1", "test.sleep_s": sleep_s}
    parameters |= {f"test.{key}": value for key, value in test.items()}
    return {
        "name": model,
        "backend": "onnxruntime",
        "default_model_filename": "model.onnx",
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, SIZE, SIZE]}],
        "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [DIMENSION]}],
        "version_policy": {"specific": {"versions": list(versions)}},
        "dynamic_batching": {"preferred_batch_size": [4], "max_queue_delay_microseconds": delay_us},
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        "parameters": {key: {"string_value": str(value)} for key, value in parameters.items()},
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What Triton answered to one request, and how long it took."""

    status: int
    text: str
    seconds: float

    @property
    def error(self) -> str:
        return str(json.loads(self.text)["error"])


@dataclass(slots=True)
class Pending:
    """A request that a thread waits for."""

    _thread: threading.Thread
    _answers: list[Answer] = field(default_factory=list)
    ended: float = 0
    """When its answer came, by the monotonic clock."""

    def answer(self) -> Answer:
        self._thread.join(_LONGEST_S)
        [found] = self._answers
        return found

    def is_waiting(self) -> bool:
        return self._thread.is_alive()


def in_background(ask: Callable[[], Answer]) -> Pending:
    def run() -> None:
        pending._answers.append(ask())
        pending.ended = time.monotonic()

    pending = Pending(threading.Thread(target=run, daemon=True))
    pending._thread.start()
    return pending


@dataclass(frozen=True, slots=True)
class Triton:
    """A running container. Each request has a connection of its own, as the operator's have."""

    container: str
    http_port: int
    grpc_address: str

    def connect(self, timeout_s: float = _LONGEST_S) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout_s)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        connection, began = self.connect(), time.monotonic()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), time.monotonic() - began)
        finally:
            connection.close()

    def load(self, config: Config) -> Answer:
        return self.ask("POST", f"/v2/repository/models/{config['name']}/load", _load_body(config))

    def load_and_leave(self, config: Config, after_s: float) -> None:
        """Ask for a load, and close the connection before it is answered."""
        connection = self.connect()
        connection.request("POST", f"/v2/repository/models/{config['name']}/load", json.dumps(_load_body(config)))
        time.sleep(after_s)
        connection.close()

    def unload(self, model: str) -> Answer:
        return self.ask("POST", f"/v2/repository/models/{model}/unload", {})

    def config_name(self, model: str) -> str:
        """Give the `name` of the config that a model says it runs."""
        answer = self.ask("GET", f"/v2/models/{model}/config")
        assert answer.status == 200, answer
        return str(json.loads(answer.text)["parameters"][CONFIG_ID_PARAMETER]["string_value"])

    def states(self, model: str) -> Mapping[int, str]:
        entries = json.loads(self.ask("POST", "/v2/repository/index", {}).text)
        return {int(e["version"]): e["state"] for e in entries if e["name"] == model and e.get("version")}

    def is_ready(self, model: str) -> bool:
        return self.ask("GET", f"/v2/models/{model}/ready").status == 200

    def embed(self, model: str, *, version: int | None = None) -> Answer:
        versioned = f"/versions/{version}" if version else ""
        return self.ask("POST", f"/v2/models/{model}{versioned}/infer", infer_body())

    def log(self) -> str:
        return docker("logs", self.container)

    def state(self) -> Mapping[str, Any]:
        [found] = json.loads(docker("inspect", self.container))
        state: dict[str, Any] = found["State"] | {"RestartCount": found["RestartCount"]}
        return state


def infer_body() -> dict[str, Any]:
    image = {"name": "image", "shape": [1, 3, SIZE, SIZE], "datatype": "FP32", "data": _IMAGE}
    return {"inputs": [image], "outputs": [{"name": "embedding"}]}


def read_embedding(text: str | bytes) -> tuple[int, list[float]]:
    """Give the version that embedded, and the embedding."""
    said = json.loads(text)
    return int(said["model_version"]), said["outputs"][0]["data"]


def _load_body(config: Config) -> dict[str, Any]:
    return {"parameters": {"config": json.dumps(config)}}


@contextmanager
def light_triton(image: str, repository: Path, *, memory_mib: int | None = None) -> Iterator[Triton]:
    """Run the light image over a repository, with nothing loaded."""
    backend = repository.with_name("model.py")
    backend.write_text(BACKEND.read_text(encoding="utf-8") + _BEHIND_IT, encoding="utf-8")
    repository.chmod(0o755)
    limit = [f"--memory={memory_mib}m", f"--memory-swap={memory_mib}m"] if memory_mib else []
    container = docker(
        *["run", "--detach", "--user=1000:1000", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"],
        *["--tmpfs=/tmp", "--shm-size=256m", "--publish=127.0.0.1::8000", "--publish=127.0.0.1::8001", *limit],
        *[
            f"--volume={repository}:/models:ro",
            f"--volume={backend}:/opt/tritonserver/backends/onnxruntime/model.py:ro",
        ],
        *[image, "tritonserver", "--model-repository=/models", "--model-control-mode=explicit"],
        *["--disable-auto-complete-config", "--model-config-name=cpu"],
    ).strip()
    try:
        wait_for_line(container, "Started HTTPService")
        http_address, grpc_address = (docker("port", container, f"{port}/tcp").split()[0] for port in (8000, 8001))
        wait_live(http_address)
        yield Triton(container, int(http_address.rpartition(":")[2]), grpc_address)
    finally:
        docker("rm", "--force", "--volumes", container)
