"""One process that is many Triton servers: each pod has a loopback address of its own, so that the operator's connections are as many as in a cluster."""

from __future__ import annotations

import asyncio
import json
import random
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from bench.errors import BenchError
from clipmodel_contract import golden
from clipmodel_contract.ports import HTTP_PORT

_DIMENSION = 512
_CONFIG_ID = re.compile(r'key: "clipmodel\.dev/config-id"\s+value \{ string_value: "([0-9a-f]+)" \}')
_HOSTS_PER_BLOCK = 250
#: Blocks of 250 in 127.1.0.0/16, far from what else listens on loopback.
MOST = 16 * _HOSTS_PER_BLOCK


def address(index: int) -> str:
    """Give pod number `index` its loopback address."""
    if not 0 <= index < MOST:
        raise ValueError(f"there are addresses for {MOST} pods, not for number {index}")
    return f"127.1.{index // _HOSTS_PER_BLOCK}.{index % _HOSTS_PER_BLOCK + 1}"


def make_vectors() -> list[str]:
    """Make two golden vectors, the same each time: base64 of FP16."""
    source = random.Random(0)  # noqa: S311 - no secret
    vectors = ([source.gauss(0, 1) for _ in range(_DIMENSION)] for _ in range(golden.IMAGE_COUNT))
    return [golden.encode_vector(vector) for vector in vectors]


def read_config(data: Mapping[str, str]) -> dict[str, Any]:
    """Say what a Triton that starts on this ConfigMap would say of its config, as far as the operator looks. Raises ValueError for another format."""
    found = _CONFIG_ID.search(data["cpu.pbtxt"])
    if found is None:
        raise ValueError("cpu.pbtxt carries no config id")
    proof = json.loads(data["versions.json"])["proofs"].get(found[1])
    if proof is None:
        raise ValueError(f"versions.json has no proof of config {found[1]}")
    versions = sorted(int(v) for v in proof["versions"])
    return {
        "parameters": {"clipmodel.dev/config-id": {"string_value": found[1]}},
        "version_policy": {"specific": {"versions": [str(v) for v in versions]}},
    }


def _answer(vector: str) -> tuple[bytes, dict[str, str]]:
    values = golden.decode_vector(vector)
    data = struct.pack(f"<{len(values)}f", *values)
    output = {
        "name": "embedding",
        "datatype": "FP32",
        "shape": [1, len(values)],
        "parameters": {"binary_data_size": len(data)},
    }
    header = json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode()
    return header + data, {golden.HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}


@dataclass(slots=True)
class FakeTriton:
    """Answers what the operator asks of a server that serves rightly."""

    vectors: list[str]
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By model name."""
    asked: int = 0
    _runner: web.ServerRunner | None = None
    _sockets: asyncio.Server | None = None
    _answers: dict[bytes, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    async def listen(self, count: int) -> Self:
        """Listen on the addresses of `count` pods."""
        for index, vector in enumerate(self.vectors):
            self._answers[golden.golden_image(index, 224)[:64]] = _answer(vector)
        self._runner = web.ServerRunner(web.Server(self._handle))
        await self._runner.setup()
        hosts = [address(i) for i in range(count)]
        try:
            self._sockets = await asyncio.get_running_loop().create_server(self._runner.server, hosts, HTTP_PORT)  # type: ignore[arg-type]  # it is a factory of protocols
        except OSError as error:
            raise BenchError(
                f"cannot listen on {hosts[0]}:{HTTP_PORT} and the addresses after it: {error}. End what listens on port {HTTP_PORT}."
            ) from error
        return self

    async def close(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked += 1
        parts = request.path.split("/")  # /v2/models/NAME/...
        body = await request.read()
        if request.method == "GET" and parts[-1] == "config" and parts[3] in self.configs:
            return web.json_response(self.configs[parts[3]])
        if request.path == "/v2/repository/index":
            return web.json_response([])  # no candidate is loaded, which is what the operator asks
        if parts[-1] == "infer":
            start = int(request.headers[golden.HEADER_LENGTH])
            found = self._answers.get(body[start : start + 64])
            if found is not None:
                return web.Response(body=found[0], headers=found[1])
        return web.json_response({"error": f"the stand-in does not know {request.method} {request.path}"}, status=400)
