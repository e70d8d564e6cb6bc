"""A server that speaks KServe v2 over HTTP and gRPC on loopback, and is as broken as a test wants it."""

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc  # type: ignore[import-untyped]  # its stubs are a package of their own
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from typing_extensions import override

MODEL, DIMENSION, SIZE = "openclip_vit_b32", 8, 32


@dataclass
class Behaviour:
    """What the server does; tests change it."""

    batches: list[int] = field(default_factory=list)
    image_shape: tuple[int, ...] = (-1, 3, SIZE, SIZE)
    http_error: tuple[int, str] | None = None
    grpc_error: tuple[grpc.StatusCode, str] | None = None
    block: threading.Event | None = None  # infer waits for it
    scale: float = 1.0
    page: str | None = None  # what a proxy or another server would say, to everything

    def embed(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        if self.block:
            self.block.wait(30)
        with np.errstate(invalid="ignore"):
            return (reference(images) * self.scale).astype(np.float32)


def reference(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model: the mean of eight bands of each picture, and no two pictures alike."""
    bands = images.reshape(len(images), DIMENSION, 3 * SIZE * SIZE // DIMENSION)
    vectors: NDArray[np.float32] = bands.mean(axis=2) * 10 + 0.5
    return vectors


@dataclass(frozen=True)
class Server:
    behaviour: Behaviour
    addresses: dict[str, str]


@pytest.fixture
def server() -> Iterator[Server]:
    behaviour = Behaviour()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _http_handler(behaviour))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    rpc = grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(behaviour), rpc)
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    yield Server(behaviour, {"http": f"127.0.0.1:{http.server_address[1]}", "grpc": f"127.0.0.1:{port}"})
    if behaviour.block:
        behaviour.block.set()
    rpc.stop(None)
    http.shutdown()
    http.server_close()


def _metadata(behaviour: Behaviour) -> dict[str, Any]:
    return {
        "name": MODEL,
        "inputs": [{"name": "image", "datatype": "FP32", "shape": list(behaviour.image_shape)}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, DIMENSION]}],
    }


def _http_handler(behaviour: Behaviour) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if behaviour.page:
                self._answer(200, behaviour.page.encode())
            elif f"/models/{MODEL}" not in self.path:
                self._answer(
                    400,
                    json.dumps({"error": f"Request for unknown model: {self.path} is not found"}).encode(),
                )
            else:
                self._answer(200, json.dumps(_metadata(behaviour)).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if behaviour.http_error:
                code, message = behaviour.http_error
                self._answer(code, json.dumps({"error": message}).encode())
                return
            header_size = int(self.headers["Inference-Header-Content-Length"])
            shape = json.loads(body[:header_size])["inputs"][0]["shape"]
            images = np.frombuffer(body[header_size:], dtype="<f4").reshape(shape)
            vectors = behaviour.embed(images)
            output: dict[str, Any] = {"name": "embedding", "datatype": "FP32", "shape": list(vectors.shape)}
            output["parameters"] = {"binary_data_size": vectors.nbytes}
            header = json.dumps({"model_name": MODEL, "outputs": [output]}).encode()
            self._answer(200, header + vectors.tobytes(), header_size=len(header))

        def _answer(self, code: int, body: bytes, header_size: int | None = None) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            if header_size is not None:
                self.send_header("Inference-Header-Content-Length", str(header_size))
            self.end_headers()
            self.wfile.write(body)

    return Handler


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient has no types
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        if request.name != MODEL:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"Request for unknown model: '{request.name}' is not found")
        metadata = _metadata(self._behaviour)
        answer = service_pb2.ModelMetadataResponse(name=MODEL)
        for kind in ("inputs", "outputs"):
            for tensor in metadata[kind]:
                getattr(answer, kind).add(**tensor)
        return answer

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - gRPC's name
        if self._behaviour.grpc_error:
            context.abort(*self._behaviour.grpc_error)
        shape = list(request.inputs[0].shape)
        vectors = self._behaviour.embed(np.frombuffer(request.raw_input_contents[0], dtype="<f4").reshape(shape))
        answer = service_pb2.ModelInferResponse(model_name=MODEL)
        answer.outputs.add(name="embedding", datatype="FP32", shape=list(vectors.shape))
        answer.raw_output_contents.append(vectors.tobytes())
        return answer
