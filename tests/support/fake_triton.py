"""Triton in memory: one server a pod, and the operator's client for all of them. Bytes are the vectors that they embed to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clipmodel_contract.names import is_candidate_name
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.models.errors import RejectedError, RetryError
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering.config_pbtxt import config_id
from support.fake_api_server import FakeApiServer


@dataclass(slots=True)
class Upload:
    """What is found at a URI: bytes, and the vectors they embed to; or why a sync of it fails."""

    sha256: str
    vectors: tuple[tuple[float, ...], ...]
    failure: tuple[str, str] | None = None
    """(result, reason) of the report."""
    is_refused: bool = False
    """Triton cannot load it."""
    is_wrong: bool = False
    """Triton embeds it otherwise than the sync did."""


@dataclass(slots=True)
class TritonServer:
    """One pod's Triton: which versions of which model it has loaded, and by which config."""

    pod: str
    control_key: str
    volume: dict[int, Upload]
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    proven: set[int] = field(default_factory=set)
    """Versions that were embedded with under the candidate's name, or at start."""
    unloading: dict[str, int] = field(default_factory=dict)
    """Models on their way out, and how often they are still listed."""

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        assert config["name"] == model, "Triton refuses another name"
        versions = self._versions(config)
        if not versions or any(self.volume[v].is_refused for v in versions):
            raise RejectedError(f"failed to load '{model}'")
        self.configs[model] = config

    def _versions(self, config: Mapping[str, Any]) -> list[int]:
        # `specific` skips what is not there, and says nothing.
        return [v for v in (int(v) for v in config["version_policy"]["specific"]["versions"]) if v in self.volume]

    def versions(self, model: str) -> list[int]:
        return self._versions(self.configs[model]) if model in self.configs else []


@dataclass(slots=True)
class FakeTriton:
    """What the operator asks goes through the TritonClient protocol; loads stand among the cluster's `writes`."""

    cluster: FakeApiServer
    servers: dict[str, TritonServer] = field(default_factory=dict)
    """By pod IP."""
    serves_wrong: bool = False
    """Triton answers with other embeddings than the bytes have."""
    answers: bool = True
    """Triton answers at all."""
    refuses: Callable[[str, Mapping[str, Any]], bool] = lambda _model, _config: False
    """Which loads Triton refuses, beside those of bytes that it cannot load."""
    distorts: Callable[[str, Mapping[str, Any]], bool] = lambda _model, _config: False
    """By which configs Triton embeds otherwise."""
    asked: int = 0
    """For how many golden embeddings."""
    listed_after_unload: int = 0
    """How often a model is still listed after it was told to go."""
    loses_unloads: int = 0
    """How many requests to unload never arrive."""
    last_load: str = ""
    """The id of the config that came last."""
    seen: list[str] = field(default_factory=list)
    """Loads, unloads, and when what was unloaded is gone, in their order."""

    def _server(self, server: Server) -> TritonServer:
        found = self.servers.get(server.address)
        if found is None or not self.answers:
            raise RetryError("Triton does not answer")
        return found

    def _controlled(self, server: Server) -> TritonServer:
        found = self._server(server)
        if server.control_key != found.control_key:
            raise RetryError("Triton answers HTTP 403: this API is restricted")
        return found

    def vector(self, upload: Upload, index: int) -> tuple[float, ...]:
        vector = upload.vectors[index]
        return tuple(reversed(vector)) if self.serves_wrong or upload.is_wrong else vector

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        del tensors
        self.asked += 1
        found = self._server(server)
        if version not in found.versions(model):
            raise RejectedError(f"Request for unknown model: '{model}' version {version} is not found")
        if is_candidate_name(model):
            found.proven.add(version)
        vector = self.vector(found.volume[version], index)
        return tuple(reversed(vector)) if self.distorts(model, found.configs[model]) else vector

    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]:
        found = self._controlled(server)
        if model not in found.configs:
            raise RejectedError(f"Request for unknown model: '{model}' is not found")
        return found.configs[model]

    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None:
        found = self._controlled(server)
        versions = config["version_policy"]["specific"]["versions"]
        self.last_load = config_id(config)
        self.cluster.before_write(f"load {model}")
        self.cluster.writes.append(f"load {model} {versions} on {found.pod}")
        self.seen.append(f"load {model} {versions} on {found.pod}")
        assert not found.unloading, "what is on its way out has its memory still"
        if self.refuses(model, config):
            raise RejectedError(f"failed to load '{model}'")
        if not is_candidate_name(model):
            assert set(versions) <= found.proven, "nothing unproven is ever loaded under the real name"
        found.load(model, json.loads(json.dumps(config)))
        self.cluster.after_write(f"load {model}")

    async def unload(self, server: Server, model: str) -> None:
        found = self._controlled(server)
        if self.loses_unloads:
            self.loses_unloads -= 1
            raise RetryError("Triton does not answer")
        if found.configs.pop(model, None) is None:
            raise RejectedError(f"failed to unload '{model}': it is not loaded")
        self.seen.append(f"unload {model} on {found.pod}")
        if self.listed_after_unload:
            found.unloading[model] = self.listed_after_unload

    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]:
        found = self._controlled(server)
        if model in found.unloading:
            found.unloading[model] -= 1
            if found.unloading[model] > 0:
                return frozenset(found.volume)
            del found.unloading[model]
            self.seen.append(f"gone {model} on {found.pod}")
        return frozenset(found.versions(model))
