"""One ClipModel whose pods hang costs the others nothing: the real workers, over a Triton of which most servers never answer; time is the loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from clipmodel_contract.tensors import Tensors
from clipmodel_operator.app.operator import Operator, build_operator
from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models import names
from clipmodel_operator.models.errors import RetryError
from clipmodel_operator.models.resources import BY_KIND, CHILDREN, CLIP_MODELS
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import NAMESPACE, ONE, SHA_1, URI_1, VECTORS_1, build_spec
from support.fake_api_server import FakeApiServer
from support.fake_clock import FakeClock
from support.fake_controllers import FakeControllers
from support.fake_kubelet import FakeKubelet, Step
from support.fake_triton import LOAD_PATIENCE_S, PATIENCE_S, FakeTriton, Upload
from support.virtual_loop import VirtualLoop

HANGING = 8
PODS = 20
WORKERS = 8
SERVED_WITHIN_S = 10.0
_WATCHED = {r.kind for r in (CLIP_MODELS, *CHILDREN)}


class HangingTriton:
    """Asks servers, of which those of some pods never answer: the client gives up after its own time."""

    def __init__(self, triton: FakeTriton) -> None:
        self.triton = triton
        self.is_hanging = False
        self.most_asked = 0
        self._asked = 0

    async def _wait(self, server: Server, seconds: float) -> None:
        found = self.triton.servers.get(server.address)
        if self.is_hanging and found is not None and found.pod.startswith("hang"):
            self._asked += 1
            self.most_asked = max(self.most_asked, self._asked)
            try:
                await asyncio.sleep(seconds)
            finally:
                self._asked -= 1
            raise RetryError("Triton does not answer")

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        await self._wait(server, PATIENCE_S)
        return await self.triton.embed_golden(server, model=model, version=version, tensors=tensors, index=index)

    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]:
        await self._wait(server, PATIENCE_S)
        return await self.triton.get_config(server, model)

    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None:
        await self._wait(server, LOAD_PATIENCE_S)
        await self.triton.load(server, model, config)

    async def unload(self, server: Server, model: str) -> None:
        await self._wait(server, PATIENCE_S)
        await self.triton.unload(server, model)

    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]:
        await self._wait(server, PATIENCE_S)
        return await self.triton.loaded_versions(server, model)


class Town:
    """Many ClipModels, one operator with its own workers, and a cluster in which everything else happens at once."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.loop = VirtualLoop(self.clock)
        self.cluster = FakeApiServer(self.clock)
        self.triton = FakeTriton(self.cluster)
        self.kubelet = FakeKubelet(self.cluster, self.triton, uploads={URI_1: Upload(SHA_1, VECTORS_1)})
        self.controllers = FakeControllers(self.cluster, self.kubelet)
        self.client = HangingTriton(self.triton)
        self.start()

    def start(self) -> None:
        self.operator: Operator = build_operator(
            cast("Any", self.cluster),
            self.client,
            root_key=b"root",
            render=RenderSettings(),
            clock=self.clock,
            jitter=lambda: 1.0,
        )
        self.workers = [self.loop.create_task(self.operator.work()) for _ in range(WORKERS)]

    def restart(self) -> None:
        self.loop.cancel_all()
        self.cluster.undelivered.clear()
        self.start()
        self.loop.do(self.operator.list_all(cast("Cluster", self.cluster), ()))

    def create(self, name: str, spec: dict[str, Any]) -> None:
        self.cluster.add({
            "apiVersion": "clipmodel.dev/v1alpha1",
            "kind": "ClipModel",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        })  # fmt: skip

    def edit(self, name: str, spec: dict[str, Any]) -> None:
        self.cluster.edit(self.cluster.get("ClipModel", name), lambda o: o.update(spec=spec))

    def go_on(self) -> bool:
        """Let all happen that needs no time. Gives whether anything did."""
        self.loop.run_until_blocked()
        did = False
        for kind, events in self.cluster.undelivered.items():
            while events:
                deleted, obj = events.popleft()
                if kind in _WATCHED:
                    self.operator.observe(BY_KIND[kind], obj, deleted=deleted)
                    did = True
        self.loop.run_until_blocked()
        # What else could happen to one of them is another thing afterwards.
        for kind in ("Job", "Deployment"):
            for owner in self.cluster.all(kind):
                did = _take_first(self.controllers.steps_of(owner)) or did
        for pod in self.cluster.all("Pod"):
            if pod["metadata"]["labels"][names.LABEL_COMPONENT] == names.COMPONENT_SERVER:
                did = _take_first(self.kubelet.steps(pod)) or did
        return did

    def run_for(self, seconds: float) -> None:
        end = self.clock.seconds + seconds
        while True:
            while self.go_on():
                pass
            due = self.loop.next_timer()
            if due is None or due > end:
                self.clock.seconds = end
                return
            self.clock.seconds = max(due, self.clock.seconds)

    def says(self, name: str) -> tuple[str, str] | None:
        conditions = (self.cluster.get("ClipModel", name).get("status") or {}).get("conditions") or ()
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), None)


def _take_first(steps: list[Step]) -> bool:
    for _, act in steps[:1]:
        act()
    return bool(steps)


def _is_served(town: Town, name: str) -> bool:
    """Tell whether the edit runs in the pod, and status says so."""
    configs = [s.configs.get(name, {}) for s in town.triton.servers.values() if s.pod.startswith(name)]
    delays = [int(c["dynamic_batching"]["max_queue_delay_microseconds"]) for c in configs if c]
    return town.says(name) == ("True", "Serving") and delays == [7000]


@pytest.mark.long
def test_an_unrelated_model_is_served_beside_many_that_hang() -> None:
    town = Town()
    try:
        for number in range(HANGING):
            town.create(f"hang{number}", build_spec(ONE, serving={"replicas": PODS}))
        town.create("other", build_spec(ONE))
        town.run_for(60)
        assert [town.says(f"hang{n}") for n in range(HANGING)] == [("True", "Serving")] * HANGING
        town.client.is_hanging = True
        # A new operator looks at every pod, and every model is edited.
        town.restart()
        for number in range(HANGING):
            town.edit(f"hang{number}", build_spec(ONE, serving={"replicas": PODS}, batching={"maxQueueDelay": "7ms"}))
        town.run_for(5)
        assert town.client.most_asked, "they hang"
        town.edit("other", build_spec(ONE, batching={"maxQueueDelay": "7ms"}))
        begun = town.clock.seconds
        while not _is_served(town, "other") and town.clock.seconds < begun + 3600:
            town.run_for(1)
        assert _is_served(town, "other")
        assert town.clock.seconds - begun <= SERVED_WITHIN_S, f"{town.clock.seconds - begun:.0f} s"
    finally:
        town.loop.end()
