"""The real cache, queue, verifier and reconciler over the cluster in memory, driven step by step; what happened is in `log`, for a person to read."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from typing import Any, cast

from clipmodel_contract.names import is_candidate_name
from clipmodel_operator.app.operator import build_operator
from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models import names
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.ownership import owner_of
from clipmodel_operator.models.resources import BY_KIND, CHILDREN, CLIP_MODELS, PODS
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import (
    NAME,
    NAMESPACE,
    SHA_1,
    SHA_2,
    SHA_OTHER,
    URI_1,
    URI_2,
    URI_OTHER,
    VECTORS_1,
    VECTORS_2,
    VECTORS_OTHER,
    build_spec,
)
from support.fake_api_server import FakeApiServer
from support.fake_clock import FakeClock
from support.fake_controllers import FakeControllers
from support.fake_kubelet import FakeKubelet, is_ready
from support.fake_triton import FakeTriton, TritonServer, Upload
from support.server_side_apply import Object

KEY = Key(NAMESPACE, NAME)
#: More turns of the event loop than any step takes between two waits.
_MOST_TURNS = 1000
_STEP_POLL_S = 0.01
_WATCHED = frozenset(r.kind for r in (CLIP_MODELS, *CHILDREN))


class Killed(BaseException):
    """The operator's process ended, here and now."""


class _Line:
    """What one run of the operator has in its hand of the world: cut when its process ends, whatever its tasks still want to do."""

    def __init__(self, target: Any, simulation: Simulation, epoch: int) -> None:
        self._target, self._simulation, self._epoch = target, simulation, epoch

    def __getattr__(self, name: str) -> Any:
        async def ask(*args: Any, **kwargs: Any) -> Any:
            if self._simulation.epoch != self._epoch:
                raise Killed
            self._simulation.triton.epoch = self._epoch
            return await getattr(self._target, name)(*args, **kwargs)

        return ask


class Simulation:
    """One ClipModel's world."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.cluster = FakeApiServer(self.clock)
        self.triton = FakeTriton(self.cluster)
        self.kubelet = FakeKubelet(self.cluster, self.triton)
        self.controllers = FakeControllers(self.cluster, self.kubelet)
        self.kubelet.uploads = {
            URI_1: Upload(SHA_1, VECTORS_1),
            URI_2: Upload(SHA_2, VECTORS_2),
            URI_OTHER: Upload(SHA_OTHER, VECTORS_OTHER),
        }
        self.log: list[str] = []
        self.passes = 0
        self.epoch = 0
        self._logged = 0
        self._timer: float | None = None
        self._pass: asyncio.Task[None] | None = None
        self.start_operator()

    # The operator.

    def start_operator(self) -> None:
        """Start it anew, with nothing remembered. `list_all` must follow."""
        self.epoch += 1
        self.operator = build_operator(
            cast("Any", _Line(self.cluster, self, self.epoch)),
            cast("Any", _Line(self.triton, self, self.epoch)),
            root_key=b"root",
            render=RenderSettings(),
            clock=self.clock,
            jitter=lambda: 1.0,
        )
        self._pass = None
        self.reconciler, self.queue = self.operator.reconciler, self.operator.queue
        self._timer = None

    async def restart_operator(self) -> None:
        self.log.append("the operator starts anew")
        old_steps, old_pass = self.steps, self._pass
        self.start_operator()
        if old_pass is not None:
            old_pass.cancel()
            await asyncio.gather(old_pass, return_exceptions=True)
        if old_steps is not None:
            await old_steps.cancel_all()
        self.cluster.undelivered.clear()
        await self.operator.list_all(cast("Cluster", self.cluster), ())

    @property
    def steps(self) -> Any:
        """Give the operator's runner of steps, where it has one."""
        return getattr(self.operator, "steps", None)

    @property
    def has_steps(self) -> bool:
        """Tell whether the operator does something beside its passes."""
        return self.steps is not None and not self.steps.is_idle

    async def let_run(self) -> None:
        """Let the operator's tasks run until all of them wait for something."""
        ready = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009 - nothing else tells
        for _ in range(_MOST_TURNS):
            await asyncio.sleep(0)
            if not ready:
                self.log_writes()
                return
        self.fail("the operator's tasks do not come to rest")

    def deliver(self, kind: str) -> None:
        """Deliver the oldest event of a kind."""
        deleted, obj = self.cluster.undelivered[kind].popleft()
        if kind not in _WATCHED:
            return
        is_ours = kind == CLIP_MODELS.kind or owner_of(kind, obj) is not None
        if is_ours:  # children are watched by our label
            self.operator.observe(BY_KIND[kind], obj, deleted=deleted)

    def deliver_all(self) -> None:
        for kind in list(self.cluster.undelivered):
            while self.cluster.undelivered[kind]:
                self.deliver(kind)

    def begin_pass(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Begin a pass, which goes on whenever tasks may run: `is_passing` tells when it has ended."""
        assert not self.is_passing
        self._pass = (loop or asyncio.get_running_loop()).create_task(self.work())

    @property
    def is_passing(self) -> bool:
        if self._pass is not None and self._pass.done():
            ended, self._pass = self._pass, None
            ended.result()
        return self._pass is not None

    async def pass_on(self) -> None:
        """Begin a pass, and let it come as far as it can without an answer of Triton's."""
        self.begin_pass()
        await self.let_run()

    def serve(self) -> None:
        """Let the oldest call to Triton go on in good order."""
        call = next(c for c in self.triton.calls if self.triton.choices(c))
        choice = self.triton.choices(call)[0]
        self.log.append(f"triton: {choice} {call}")
        self.triton.choose(call, choice)

    async def work(self) -> None:
        """Make one pass."""
        key = await self.queue.get()
        self._timer = None  # as the queue does it: a pass begins, and says anew when the next one is due
        self.passes += 1
        try:
            outcome = await self.reconciler.reconcile(key)
        finally:
            self.queue.done(key)
            self.log_writes()
        delay_s = self.operator.requeue_delay_s(key, outcome)
        if delay_s is not None:
            self._timer = self.clock.seconds + delay_s

    def log_writes(self) -> None:
        """Log what the operator has written since the last time. Loads that wait for their effect are logged as calls."""
        new, self._logged = self.cluster.writes[self._logged :], len(self.cluster.writes)
        self.log += [f"operator: {w}" for w in new if not (self.triton.is_suspended and w.startswith("load "))]

    @property
    def next_pass_at(self) -> float | None:
        """Give the time that the next pass waits for."""
        return self._timer

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.seconds += seconds
        if self._timer is not None and self._timer <= self.clock.seconds:
            self._timer = None
            self.queue.add(KEY)

    # What goes on.

    async def settle(self, *, steps: int = 400, look: Callable[[], None] = lambda: None) -> None:
        """Let everything happen in order, until nothing is left but waiting for a time. `look` is called after whatever happened."""
        for _ in range(steps):
            self.deliver_all()
            await self.let_run()
            if len(self.queue) and not self.is_passing:
                await (self.pass_on() if self.triton.is_suspended else self.work())
            elif self.triton.calls:
                self.serve()
            elif self._timer is not None and self._timer <= self.clock.seconds:
                self.advance(0)
            elif following := self.controllers.steps():
                self._step(following[0])
            elif self.has_steps or self.is_passing:
                await asyncio.sleep(_STEP_POLL_S)  # one polls: by the loop's own clock
            else:
                return
            look()
        self.fail("it does not come to rest")

    async def settle_waiting(self, *, seconds: float = 3600, look: Callable[[], None] = lambda: None) -> None:
        """Settle, and go on at each time that is waited for, as long as that changes something."""
        end = self.clock.seconds + seconds
        while True:
            await self.settle(look=look)
            due = [t for t in (self._timer, self.kubelet.next_time()) if t is not None]
            if not due or min(due) > end:
                return
            self.advance(min(due) - self.clock.seconds)

    async def settle_at_random(self, rng: random.Random, *, steps: int = 3000) -> None:
        """Let everything happen in any order in which it could."""
        for _ in range(steps):
            following = self.controllers.steps()
            kinds = [k for k, events in sorted(self.cluster.undelivered.items()) if events]
            choices = ["pass"] * bool(len(self.queue)) + ["step"] * bool(following) + ["event"] * bool(kinds)
            if not choices:
                if self.has_steps:
                    await asyncio.sleep(_STEP_POLL_S)
                    continue
                due = [t for t in (self._timer, self.kubelet.next_time()) if t is not None]
                if not due:
                    return
                self.advance(min(due) - self.clock.seconds)
                continue
            match rng.choice(choices):
                case "pass":
                    await self.work()
                case "step":
                    self._step(rng.choice(following))
                case _:
                    self.deliver(rng.choice(kinds))
            await self.let_run()
        self.fail("it does not come to rest")

    def _step(self, step: tuple[str, Any]) -> None:
        name, act = step
        self.log.append(name)
        act()

    # What a person does and sees.

    def create(self, spec: Object | None = None) -> None:
        self.log.append("user: creates the ClipModel")
        self.cluster.add({
            "apiVersion": "clipmodel.dev/v1alpha1",
            "kind": "ClipModel",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": spec or build_spec(),
        })  # fmt: skip

    def update(self, spec: Object) -> None:
        self.log.append("user: changes the spec")
        self.cluster.edit(self.clip, lambda o: o.update(spec=spec))

    def pods(self) -> list[Object]:
        """List the Triton pods."""
        return [
            p
            for p in self.cluster.all(PODS.kind)
            if p["metadata"]["labels"][names.LABEL_COMPONENT] == names.COMPONENT_SERVER
        ]

    def ready_servers(self) -> list[TritonServer]:
        return [self.triton.servers[p["status"]["podIP"]] for p in self.cluster.all(PODS.kind) if is_ready(p)]

    def can_embed(self, *versions: int, model: str = "clip") -> bool:
        """Tell whether a client gets exactly these versions' own embeddings from every ready pod, and there is one."""
        ready = self.ready_servers()
        return (
            bool(ready)
            and not self.triton.serves_wrong
            and all(
                tuple(s.versions(model)) == versions and not any(s.volume[v].is_wrong for v in versions) for s in ready
            )
        )

    @property
    def clip(self) -> Object:
        return self.cluster.get("ClipModel", NAME)

    @property
    def status(self) -> Object:
        return dict(self.clip["status"])

    def condition(self, kind: str) -> Object | None:
        return next((c for c in self.status.get("conditions", ()) if c["type"] == kind), None)

    def says(self, kind: str) -> tuple[str, str] | None:
        """Give a condition's status and reason."""
        found = self.condition(kind)
        return (found["status"], found["reason"]) if found else None

    def says_ready(self) -> bool:
        return (self.clip.get("status") or {}) != {} and (self.says("Ready") or ("",))[0] == "True"

    def events(self) -> list[str]:
        """List the reasons of the events that were told, in order."""
        return [
            e["reason"] for e in sorted(self.cluster.all("Event"), key=lambda e: int(e["metadata"]["resourceVersion"]))
        ]

    def snapshot(self) -> Object:
        """Give the state of the world without what differs from run to run: uids, times, resourceVersions, pods' names."""
        state: Object = {}
        for obj in copy.deepcopy(list(self.cluster.objects.values())):
            if obj["kind"] in {"Event", "Job"} or (obj["kind"] == PODS.kind and obj["status"]["phase"] != "Running"):
                continue
            metadata = obj["metadata"]
            kept: Object = {"labels": metadata.get("labels"), "annotations": metadata.get("annotations")}
            kept |= {k: obj[k] for k in ("spec", "data", "stringData") if k in obj}
            name = metadata["name"]
            if obj["kind"] == PODS.kind:
                name = metadata["labels"][names.LABEL_COMPONENT]
                kept = {
                    "annotations": metadata.get("annotations"),
                    "configs": self.triton.servers[obj["status"]["podIP"]].configs,
                }
            if obj["kind"] == CLIP_MODELS.kind:
                kept["status"] = obj["status"]
                for condition in kept["status"].get("conditions", ()):
                    condition.pop("lastTransitionTime")
                for pod in kept["status"].get("pods", ()):
                    pod.pop("name")
            state[f"{obj['kind']} {name}"] = kept
        return state

    def fail(self, why: str) -> None:
        raise AssertionError("\n".join([why, *self.log[-60:]]))

    def assert_ready(self, *versions: int) -> None:
        """Ready, and true: a client gets those versions (version 1 where none is said)."""
        wanted = versions or (1,)
        if self.says("Ready") != ("True", "Serving") or not self.can_embed(*wanted):
            self.fail(f"not ready: {self.condition('Ready')}")
        assert self.condition("Stalled") is None
        assert self.condition("Reconciling") is None
        assert self.status["servingVersions"] == list(wanted)
        assert self.status["observedGeneration"] == self.clip["metadata"]["generation"]
        assert not any(is_candidate_name(model) for s in self.ready_servers() for model in s.configs), (
            "candidates are gone"
        )

    async def assert_converged(self) -> None:
        """Nothing is written any more: not at rest, not when every key is looked at, not by an operator that starts anew."""
        for restart in (False, True):
            if restart:
                await self.restart_operator()
            self.queue.add(KEY)
            before = len(self.cluster.writes)
            await self.settle()
            if self.cluster.writes[before:]:
                self.fail(
                    f"converged, but writes ({'after a restart' if restart else 'at rest'}): {self.cluster.writes[before:]}"
                )


async def build_ready(spec: Object | None = None) -> Simulation:
    """Give the world of a ClipModel that has become ready."""
    simulation = Simulation()
    simulation.create(spec)
    await simulation.settle()
    simulation.assert_ready()
    return simulation
