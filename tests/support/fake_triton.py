"""Triton in memory: one server for each run of a pod's container, and the operator's client for all of them. Bytes are the vectors that they embed to.

Calls are answered at once, or (`is_suspended`) wait in `calls` until a test lets each of them arrive, take effect, be answered, or get lost.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from typing_extensions import override

from clipmodel_contract import golden
from clipmodel_contract.names import is_candidate_name
from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.models import names
from clipmodel_operator.models.errors import RejectedError, RetryError
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering.config_pbtxt import config_id, hash_config
from support.fake_api_server import FakeApiServer

Config = Mapping[str, Any]

_OWN_PARAMETERS = f"{names.GROUP}/"
_GONE = "Triton does not answer"
#: As the client's own timeouts: after so many seconds nobody waits for an answer any more.
PATIENCE_S = 30.0
LOAD_PATIENCE_S = 900.0


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
    copies: int = 1
    """How much memory it takes."""
    served: tuple[tuple[float, ...], ...] | None = None
    """What Triton embeds to, where that is not quite what the sync did."""


class At(StrEnum):
    """When a server meets a config."""

    CANDIDATE = "candidate"
    REAL = "real"
    START = "start"


class Harm(StrEnum):
    """What a config does to a server."""

    REFUSED = "refused"
    DIFFERS = "differs"
    """It is loaded, and embeds otherwise."""
    KILLS = "kills"
    """The container ends."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What some configs do to some servers."""

    harm: Harm
    matches: Callable[[Config], bool]
    at: frozenset[At] = frozenset(At)
    pods: Callable[[str], bool] = lambda _: True
    """On which pods, by name."""
    reason: str = "OOMKilled"
    """Of the container's end, where it kills."""

    def strikes(self, pod: str, config: Config, at: At) -> bool:
        return at in self.at and self.pods(pod) and self.matches(config)


def versions_of(config: Config) -> list[int]:
    return [int(v) for v in config["version_policy"]["specific"]["versions"]]


def content_id(config: Config, *, name: str = "") -> str:
    """Name a config's content: the id that it has, or would have, under the model's real name. What it says of itself must be true."""
    parameters = {k: v for k, v in (config.get("parameters") or {}).items() if not k.startswith(_OWN_PARAMETERS)}
    return hash_config({**config, "name": name or real_name(str(config["name"])), "parameters": parameters})


def own_id(config: Config) -> str | None:
    """Give the id that a config says of itself."""
    found: Mapping[str, str] = (config.get("parameters") or {}).get(CONFIG_ID_PARAMETER) or {}
    return found.get("string_value")


def content_of(config: Config) -> str:
    """Name a config's content, also as protobuf writes it: one under the real name says itself what it is."""
    return content_id(config) if is_candidate_name(str(config["name"])) else own_id(config) or ""


def real_name(model: str) -> str:
    return model.removesuffix("__candidate")


@dataclass(slots=True, eq=False)
class TritonServer:
    """One run of a pod's container: which versions of which model it has loaded, and by which config."""

    pod: str
    control_key: str
    volume: dict[int, Upload]
    run: str = ""
    """The container's id."""
    address: str = ""
    limit: int | None = None
    """How many copies its memory holds."""
    configs: dict[str, Config] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    """By model: the content's id."""
    wrong: dict[str, frozenset[int]] = field(default_factory=dict)
    """By model: versions that embed otherwise here."""
    proven: set[int] = field(default_factory=set)
    """Versions that were embedded with under the candidate's name, or at start."""
    checked: defaultdict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    """By content: which golden images of which versions it embedded rightly, in this run."""
    unloading: dict[str, int] = field(default_factory=dict)
    """Models on their way out, and how often they are still listed."""
    leaving: dict[str, Config] = field(default_factory=dict)
    """Models on their way out, in a world where that is a step."""
    working: defaultdict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    """By model: loads and unloads that have arrived, in their order; the first is worked on."""
    is_started: bool = False
    """The startup probe passed."""
    is_dead: bool = False
    was_loaded_by_us: bool = False
    """A load or unload of the operator's took effect here."""

    def load(self, model: str, config: Config, *, content: str | None = None) -> None:
        assert config["name"] == model, "Triton refuses another name"
        versions = self._versions(config)
        if not versions or any(self.volume[v].is_refused for v in versions):
            raise RejectedError(f"failed to load '{model}'")
        self.configs[model] = config
        self.contents[model] = content if content is not None else content_id(config)
        self.wrong[model] = frozenset()

    def drop(self, model: str) -> Config | None:
        self.contents.pop(model, None)
        self.wrong.pop(model, None)
        return self.configs.pop(model, None)

    def _versions(self, config: Config) -> list[int]:
        # `specific` skips what is not there, and says nothing.
        return [v for v in versions_of(config) if v in self.volume]

    def versions(self, model: str) -> list[int]:
        return self._versions(self.configs[model]) if model in self.configs else []

    def copies(self, config: Config) -> int:
        """Give the memory that a config takes: each instance holds each version."""
        groups: list[dict[str, Any]] = config.get("instance_group") or [{}]
        instances = sum(int(g.get("count", 1)) for g in groups)
        return instances * sum(self.volume[v].copies for v in self._versions(config))

    def memory(self) -> int:
        """Give what is held now, without what is being loaded."""
        return sum(map(self.copies, (*self.configs.values(), *self.leaving.values())))

    def loading(self) -> list[Call]:
        """List the loads that are worked on: each takes its memory already."""
        return [queue[0] for queue in self.working.values() if queue and queue[0].kind == "load"]

    def is_proven(self, content: str, versions: Iterable[int]) -> bool:
        """Tell whether every golden image of every version was embedded rightly by this content in this run."""
        seen = self.checked.get(content, set())
        return all((v, i) in seen for v in versions if v in self.volume for i in range(len(self.volume[v].vectors)))


class Stage(StrEnum):
    """How far a call has come."""

    SENT = "sent"
    WORKING = "working"
    """It has arrived, and its effect is to come."""
    DONE = "done"
    """It has had its effect, and its answer is on the way."""


@dataclass(slots=True, eq=False)
class Call:
    """One request of an operator to one server, which nothing moves by itself."""

    number: int
    kind: str
    model: str
    pod: str
    server: TritonServer | None
    """The run that the connection was made to; None where there was none."""
    act: Callable[[TritonServer], Any]
    """The effect; gives or raises the answer."""
    caller: asyncio.Future[Any]
    epoch: int
    """Which operator asks."""
    sent_at: float
    config: Config | None = None
    is_blind: bool = False
    """There was news of pods that the operator had not heard."""
    stage: Stage = Stage.SENT
    answer: Any = None
    error: Exception | None = None

    @override
    def __str__(self) -> str:
        what = f" {versions_of(self.config)} {content_id(self.config)[:6]}" if self.config is not None else ""
        return f"#{self.number} {self.kind} {self.model}{what} on {self.pod}"

    @property
    def changes(self) -> bool:
        return self.kind in {"load", "unload"}

    @property
    def is_heard(self) -> bool:
        """Somebody waits for the answer."""
        return not self.caller.done()

    @property
    def deadline(self) -> float:
        return self.sent_at + (LOAD_PATIENCE_S if self.kind == "load" else PATIENCE_S)


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
    refuses: Callable[[str, Config], bool] = lambda _model, _config: False
    """Which loads Triton refuses, beside those of bytes that it cannot load."""
    distorts: Callable[[str, Config], bool] = lambda _model, _config: False
    """By which configs Triton embeds otherwise."""
    faults: list[Fault] = field(default_factory=list)
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
    is_suspended: bool = False
    """Calls wait in `calls`."""
    calls: list[Call] = field(default_factory=list)
    epoch: int = 0
    """Of the operator that asks now."""
    clings: Callable[[str], bool] = lambda _pod: False
    """On which pods a model that was unloaded stays for now, by the pod's name."""
    is_strict: bool = False
    """Loads are held against what was promised; what breaks it stands in `violations`."""
    violations: list[str] = field(default_factory=list)
    loosest: float = golden.MIN_COSINE
    """The smallest cosine that was ever asked for: what is below it is wrong under any spec."""
    ended: Callable[[TritonServer, str], None] = lambda _server, _reason: None
    """Hears of a server that died, and why."""
    sent: Callable[[Call], None] = lambda _call: None
    """Hears of each call that is sent while calls wait."""
    finished: Callable[[Call], None] = lambda _call: None
    """Hears of each load that has had its effect."""
    is_pod_ready: Callable[[str], bool] = lambda _pod: False
    """Tells whether clients reach a pod, by its name."""
    excused: set[tuple[str, str]] = field(default_factory=set)
    """By run and content: loaded unproven by an operator that cannot have known that the run is another one."""
    _number: int = 0
    _wrong: dict[tuple[str, str, At], frozenset[int]] = field(default_factory=dict)
    """By pod, content, and when it is loaded: what is wrong there, until the world heals."""
    _proven_before: dict[str, set[str]] = field(default_factory=dict)
    """By pod: what earlier runs of its container proved."""

    # Servers, as they are.

    def embed(self, found: TritonServer, model: str, version: int, index: int) -> tuple[float, ...]:
        """Give what a client gets."""
        upload = found.volume[version]
        vector = (upload.served or upload.vectors)[index]
        is_wrong = self.serves_wrong or upload.is_wrong or version in found.wrong.get(model, ())
        return tuple(reversed(vector)) if is_wrong or self.distorts(model, found.configs[model]) else vector

    def wrong_versions(self, found: TritonServer, model: str) -> list[int]:
        """List the loaded versions of which a client gets another embedding than was proven at sync, by any tolerance that was ever asked for."""
        return [
            v
            for v in found.versions(model)
            for i, vector in enumerate(found.volume[v].vectors)
            if golden.difference(self.embed(found, model, v, i), vector, self.loosest)
        ]

    def note_right(self, found: TritonServer, model: str, version: int, index: int) -> None:
        """Remember that a golden image was embedded, if it was rightly."""
        right = found.volume[version].vectors[index]
        if not golden.difference(self.embed(found, model, version, index), right, self.loosest):
            found.checked[found.contents[model]].add((version, index))

    def heal(self) -> None:
        """Let nothing fail any more that is loaded from now on."""
        self.faults = []
        self._wrong.clear()

    def meet(self, found: TritonServer, model: str, config: Config, at: At, *, content: str | None = None) -> None:
        """Let a server load a config: it takes it, refuses it, or dies of it (RetryError)."""
        content = content if content is not None else content_id(config)
        if found.contents.get(model) == content and own_id(found.configs[model]) == own_id(config):
            return  # Triton does nothing where nothing changes
        for fault in self.faults:
            if fault.harm is Harm.KILLS and fault.strikes(found.pod, config, at):
                self.die(found, fault.reason)
                raise RetryError("connection reset by peer")
        loading = [c for c in found.loading() if c.model != model and c.config is not None]
        held = found.memory() + found.copies(config) + sum(found.copies(c.config or {}) for c in loading)
        if found.limit is not None and held > found.limit:
            self.die(found, "OOMKilled")
            raise RetryError("connection reset by peer")
        if any(f.harm is Harm.REFUSED and f.strikes(found.pod, config, at) for f in self.faults):
            raise RejectedError(f"failed to load '{model}', failed to poll from model repository")
        found.load(model, json.loads(json.dumps(config)), content=content)
        place = found.pod, content, at
        if place not in self._wrong:
            differs = any(f.harm is Harm.DIFFERS and f.strikes(found.pod, config, at) for f in self.faults)
            self._wrong[place] = frozenset(found.versions(model)) if differs else frozenset()
        found.wrong[model] = self._wrong[place]

    def die(self, found: TritonServer, reason: str) -> None:
        """End a server: what it was asked is lost."""
        proven = {c for c in found.checked if found.checked[c]}
        self._proven_before.setdefault(found.pod, set()).update(proven)
        found.is_dead = True
        found.working.clear()
        if self.servers.get(found.address) is found:
            del self.servers[found.address]
        self.ended(found, reason)

    def _server(self, server: Server) -> TritonServer:
        found = self.servers.get(server.address)
        if found is None or not self.answers:
            raise RetryError(_GONE)
        return found

    @staticmethod
    def _check_key(found: TritonServer, server: Server) -> None:
        if server.control_key != found.control_key:
            raise RetryError("Triton answers HTTP 403: this API is restricted")

    # The protocol.

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        del tensors
        self.asked += 1
        act = functools.partial(self._embed_golden, model=model, version=version, index=index)
        answer: tuple[float, ...] = await self._call("embed_golden", server, model, act)
        return answer

    def _embed_golden(self, found: TritonServer, *, model: str, version: int, index: int) -> tuple[float, ...]:
        if version not in found.versions(model):
            raise RejectedError(f"Request for unknown model: '{model}' version {version} is not found")
        if is_candidate_name(model):
            found.proven.add(version)
        self.note_right(found, model, version, index)
        return self.embed(found, model, version, index)

    async def get_config(self, server: Server, model: str) -> Config:
        def act(found: TritonServer) -> Config:
            self._check_key(found, server)
            if model not in found.configs:
                raise RejectedError(f"Request for unknown model: '{model}' is not found")
            return found.configs[model]

        answer: Config = await self._call("get_config", server, model, act)
        return answer

    async def load(self, server: Server, model: str, config: Config) -> None:
        def act(found: TritonServer) -> None:
            self._check_key(found, server)
            self._load(found, model, config)

        await self._call("load", server, model, act, config=config)
        self.cluster.after_write(f"load {model}")

    def _load(self, found: TritonServer, model: str, config: Config) -> None:
        versions = config["version_policy"]["specific"]["versions"]
        self.last_load = config_id(config)
        if not self.is_suspended:
            self.cluster.before_write(f"load {model}")
        self.cluster.writes.append(f"load {model} {versions} on {found.pod}")
        self.seen.append(f"load {model} {versions} on {found.pod}")
        found.was_loaded_by_us = True
        assert not found.unloading, "what is on its way out has its memory still"
        if self.refuses(model, config):
            raise RejectedError(f"failed to load '{model}'")
        if not is_candidate_name(model) and not self.is_suspended and found.is_started:
            assert set(versions) <= found.proven, "nothing unproven is ever loaded under the real name"
        self.meet(found, model, config, At.CANDIDATE if is_candidate_name(model) else At.REAL)

    async def unload(self, server: Server, model: str) -> None:
        def act(found: TritonServer) -> None:
            self._check_key(found, server)
            if self.loses_unloads:
                self.loses_unloads -= 1
                raise RetryError(_GONE)
            config = found.drop(model)
            if config is None:
                raise RejectedError(f"failed to unload '{model}': it is not loaded")
            self.seen.append(f"unload {model} on {found.pod}")
            if self.listed_after_unload:
                found.unloading[model] = self.listed_after_unload
            if self.is_suspended:
                found.leaving[model] = config

        await self._call("unload", server, model, act)

    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]:
        def act(found: TritonServer) -> frozenset[int]:
            self._check_key(found, server)
            if model in found.unloading:
                found.unloading[model] -= 1
                if found.unloading[model] > 0:
                    return frozenset(found.volume)
                del found.unloading[model]
                self.seen.append(f"gone {model} on {found.pod}")
            busy = [c.config for c in found.loading() if c.model == model and c.config is not None]
            if model in found.leaving:
                busy.append(found.leaving[model])
            return frozenset(found.versions(model)).union(*map(versions_of, busy))

        answer: frozenset[int] = await self._call("loaded_versions", server, model, act)
        return answer

    async def _call(
        self, kind: str, server: Server, model: str, act: Callable[[TritonServer], Any], *, config: Config | None = None
    ) -> Any:
        if not self.is_suspended:
            return act(self._server(server))
        found = self.servers.get(server.address) if self.answers else None
        self._number += 1
        call = Call(
            number=self._number,
            kind=kind,
            model=model,
            pod=found.pod if found is not None else server.address,
            server=found,
            act=act,
            caller=asyncio.get_running_loop().create_future(),
            epoch=self.epoch,
            sent_at=self.cluster.clock.seconds,
            config=json.loads(json.dumps(config)) if config is not None else None,
            is_blind=any(
                o["status"].get("podIP") == server.address for _, o in self.cluster.undelivered.get("Pod", ())
            ),
        )
        if self.is_strict:
            self._hold_against_promises(call)
        self.calls.append(call)
        self.sent(call)
        return await call.caller

    def _hold_against_promises(self, call: Call) -> None:
        if call.kind != "load" or call.server is None:
            return
        for other in self.calls:
            if other.kind == "load" and other.server is call.server and other.epoch == call.epoch and other.is_heard:
                self.violations.append(f"two loads at once from one operator: {other} and {call}")

    # Suspended calls.

    def choices(self, call: Call) -> list[str]:
        """List what can happen to a call next; the first is what happens in good order."""
        if call.server is None or call.server.is_dead:
            return ["lose"]
        match call.stage:
            case Stage.SENT:
                return ["serve", "arrive", "lose"] if call.changes else ["serve", "lose", "arrive"]
            case Stage.WORKING:
                is_first = call.server.working[call.model][0] is call
                return ["finish"] * is_first + ["lose"] * call.is_heard
            case Stage.DONE:
                return ["answer", "lose"]

    def choose(self, call: Call, choice: str) -> None:
        """Let one of its `choices` happen to a call."""
        match choice:
            case "serve":
                self._arrive(call)
                while call.stage is Stage.WORKING and self._is_first(call):
                    self._finish(call)
                if call.stage is Stage.DONE:
                    self._answer(call)
            case "arrive":
                self._arrive(call)
            case "finish":
                self._finish(call)
            case "answer":
                self._answer(call)
            case _:
                self._lose(call)
        self._tidy()

    @staticmethod
    def _is_first(call: Call) -> bool:
        return call.server is not None and call.server.working[call.model][:1] == [call]

    def _arrive(self, call: Call) -> None:
        assert call.server is not None
        if call.kind == "load" and self.is_strict:
            self._check_proven(call.server, call)
        if not call.changes:
            self._take_effect(call)
            return
        call.stage = Stage.WORKING
        call.server.working[call.model].append(call)
        if call.kind == "unload" and self._is_first(call):
            self._finish(call)

    def _check_proven(self, found: TritonServer, call: Call) -> None:
        """Nothing that this very run has not proven comes under the real name of a server that clients reach, or would without another proof."""
        if is_candidate_name(call.model) or call.config is None or not found.is_started:
            return
        content = content_id(call.config)
        if found.is_proven(content, versions_of(call.config)) or found.contents.get(call.model) == content:
            return
        if call.is_blind and content in self._proven_before.get(found.pod, ()):
            self.excused.add((found.run, content))
            return  # the operator cannot have heard of the new run
        self.violations.append(f"unproven under the real name: {call} (ready: {self.is_pod_ready(found.pod)})")

    def _finish(self, call: Call) -> None:
        found = call.server
        assert found is not None
        found.working[call.model].pop(0)
        self._take_effect(call)
        following = found.working[call.model][:1]
        if following and following[0].kind == "unload":
            self._finish(following[0])

    def _take_effect(self, call: Call) -> None:
        assert call.server is not None
        call.stage = Stage.DONE
        try:
            call.answer = call.act(call.server)
        except (RejectedError, RetryError) as error:
            call.error = error
        if call.kind == "load":
            self.finished(call)

    def _answer(self, call: Call) -> None:
        if call.is_heard:
            if call.error is not None:
                call.caller.set_exception(call.error)
            else:
                call.caller.set_result(call.answer)

    def _lose(self, call: Call) -> None:
        if call.is_heard:
            call.caller.set_exception(RetryError(f"{_GONE}: {call.kind}"))
        if call.stage is Stage.SENT:
            call.stage = Stage.DONE  # it never arrives

    def _tidy(self) -> None:
        """Forget the calls of which nothing can come any more: no effect, and nobody who hears the answer."""
        self.calls = [
            c
            for c in self.calls
            if c.is_heard or (c.changes and c.stage is not Stage.DONE and c.server is not None and not c.server.is_dead)
        ]

    def orphan(self, does_arrive: Callable[[], bool]) -> None:
        """Say what becomes of requests whose caller is gone: they arrive now, or never. What has arrived goes on."""
        for call in list(self.calls):
            if not call.is_heard and call.changes and call.stage is Stage.SENT:
                is_there = call.server is not None and not call.server.is_dead
                if is_there and does_arrive():
                    self._arrive(call)
                else:
                    call.stage = Stage.DONE
        self._tidy()

    def expire(self) -> None:
        """Let callers give up whose time is over: what has not arrived never does."""
        for call in list(self.calls):
            if call.is_heard and call.deadline <= self.cluster.clock.seconds:
                call.caller.set_exception(RetryError(f"{_GONE}: timeout"))
        self.orphan(lambda: False)

    def gone(self, found: TritonServer, model: str) -> None:
        """Let a model that was unloaded give back its memory."""
        del found.leaving[model]
        self.seen.append(f"gone {model} on {found.pod}")

    def leaving(self) -> list[tuple[TritonServer, str]]:
        going = [s for _, s in sorted(self.servers.items()) if not self.clings(s.pod)]
        return [(s, model) for s in going for model in sorted(s.leaving)]
