"""How long from an edit of a serving ClipModel to its effect on every pod, beside the load API by hand? Two replicas of each; runs of both take turns."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.console import Narrator

from bench import by_hand, ground
from bench.api import MERGE, Api, Object, delete_namespace, make_namespace, path_of
from bench.apply import clip_model
from bench.asker import Asker
from bench.errors import BenchError
from bench.figures import collect, ratio, spread, table
from bench.ground import Ground, Sources
from bench.timeline import Timeline, Watches, has_condition
from clipmodel_contract.control import CONTROL_HEADER
from clipmodel_contract.ports import HTTP_PORT

_OPERATOR_SPACE, _HAND_SPACE = "bench-live-operator", "bench-live-hand"
_NAME = "clip"
_REPLICAS = 2
_DEADLINE_S = 300.0
BATCHING, SWITCH, ADDED = "batching edit", "version edit, both on the volume", "version edit, with its sync"
EDITS = (BATCHING, SWITCH, ADDED)


@dataclass(slots=True)
class Side:
    """Two Triton pods and who asks them."""

    asker: Asker
    addresses: list[str]
    headers: dict[str, str] = field(default_factory=dict)

    async def wait_effect(self, *, expected: str, **wanted: Any) -> None:
        """Wait until every pod says so, and (for versions) answers so."""
        await self._do("config_on_all", expected=expected, **wanted)

    async def load(self, **wanted: Any) -> None:
        """Load by the load API, pod by pod."""
        await self._do("load", **wanted)

    async def _do(self, what: str, **wanted: Any) -> None:
        task = {"addresses": self.addresses, "headers": self.headers, "model": _NAME, **wanted}
        await self.asker.do(what, deadline_s=_DEADLINE_S, **task)


def _ready_pods(watches: Watches) -> list[Object] | None:
    pods = [
        p
        for p in watches.of_kind("Pod")
        if (p["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "server"
    ]
    ready = [p for p in pods if has_condition(p, "Ready")]
    return [dict(p) for p in ready] if len(ready) == _REPLICAS else None


def _addresses(pods: Sequence[Object]) -> list[str]:
    return sorted(f"{p['status']['podIP']}:{HTTP_PORT}" for p in pods)


def restarts(pods: Sequence[Object]) -> dict[str, int]:
    """Give each pod's uid with its restarts: the same before and after, or something was restarted."""
    return {p["metadata"]["uid"]: sum(c["restartCount"] for c in p["status"]["containerStatuses"]) for p in pods}


async def timed(work: Awaitable[None]) -> float:
    started = time.monotonic()
    await work
    return time.monotonic() - started


class LiveBench:
    """A ClipModel and a Deployment by hand, side by side."""

    def __init__(self, api: Api, base: Ground, sources: Sources) -> None:
        self._api, self._ground, self._sources = api, base, sources
        self._digests = {1: sources.model.sha256}
        self._expected = sources.model.expected

    def _versions(self, numbers: Sequence[int]) -> list[Object]:
        return [
            {"version": n, "source": {"uri": self._sources.uri(f"{n}.onnx"), "sha256": self._digests[n]}}
            for n in numbers
        ]

    def asker(self, namespace: str, *, claim: str | None = None) -> Asker:
        image = self._ground.images["CLIPMODEL_SYNC_IMAGE"]
        return Asker(self._api, kubeconfig=self._ground.kubeconfig, namespace=namespace, image=image, claim=claim)

    async def start_operator_side(self, watches: Watches, asker: Asker) -> Side:
        manifest = clip_model(_NAME, uri=self._sources.uri("1.onnx"), sha256=self._sources.model.sha256)
        manifest["spec"]["serving"]["replicas"] = _REPLICAS
        await self._api.apply(path_of("ClipModel", _OPERATOR_SPACE), manifest)
        await watches.wait(
            lambda: any(map(self._is_settled, watches.of_kind("ClipModel"))),
            "the ClipModel is Ready",
            deadline_s=_DEADLINE_S,
        )
        pods = await watches.wait(lambda: _ready_pods(watches), "both pods are ready", deadline_s=_DEADLINE_S)
        secrets = await self._api.request("GET", path_of("Secret", _OPERATOR_SPACE))
        key = next(s["data"]["key"] for s in secrets["items"] if "key" in s.get("data", {}))
        return Side(asker, _addresses(pods), {CONTROL_HEADER: base64.b64decode(key).decode()})

    async def start_hand_side(self, watches: Watches) -> list[str]:
        images, uri = self._ground.images, self._sources.uri("1.onnx")
        config = ground.render_config_pbtxt(clip_model(_NAME, uri=uri, sha256=self._sources.model.sha256))
        await self._api.apply(path_of("PersistentVolumeClaim", _HAND_SPACE), by_hand.claim())
        copier = by_hand.copier(image=images["CLIPMODEL_SYNC_IMAGE"], uri=uri, model=_NAME, config=config)
        await self._api.apply(path_of("Pod", _HAND_SPACE), copier)
        await watches.wait(
            lambda: watches.objects.get(("Pod", "copier"), {}).get("status", {}).get("phase") == "Succeeded",
            "the file is copied",
            deadline_s=_DEADLINE_S,
        )
        server = by_hand.deployment(image=images["CLIPMODEL_TRITON_IMAGE"], model=_NAME, replicas=_REPLICAS)
        await self._api.apply(path_of("Deployment", _HAND_SPACE), server)
        return _addresses(
            await watches.wait(lambda: _ready_pods(watches), "both pods by hand are ready", deadline_s=_DEADLINE_S)
        )

    def _is_settled(self, obj: Any) -> bool:
        is_current = obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]
        return is_current and has_condition(obj, "Ready") and not has_condition(obj, "Reconciling")

    async def edit(self, side: Side, watches: Watches, spec: Object, **effect: Any) -> dict[str, float]:
        """Edit the ClipModel; give the seconds to the effect on all pods, and to the status that says so."""
        started = time.monotonic()
        edited = await self._api.request(
            "PATCH", path_of("ClipModel", _OPERATOR_SPACE, _NAME), {"spec": spec}, content_type=MERGE
        )
        await side.wait_effect(expected=self._expected, **effect)
        took = time.monotonic() - started
        generation = edited["metadata"]["generation"]

        def is_told() -> bool:
            return any(
                o["metadata"]["generation"] >= generation and self._is_settled(o) for o in watches.of_kind("ClipModel")
            )

        await watches.wait(is_told, "the ClipModel is Ready again", deadline_s=_DEADLINE_S)
        return {"effect": took, "told": time.monotonic() - started}

    async def by_hand(self, side: Side, **effect: Any) -> None:
        await side.load(**effect)
        await side.wait_effect(expected=self._expected, **effect)

    async def round(self, number: int, ours: Side, watches: Watches, theirs: Side) -> dict[str, dict[str, float]]:
        """Make each edit once on each side. Version NUMBER + 1 is added; the switch goes back to version NUMBER."""
        new = number + 1
        self._digests[new] = ground.add_variant(self._ground, self._sources, new)
        figures: dict[str, dict[str, float]] = {}
        delay = 5 + number
        edit: Object = {"batching": {"maxQueueDelay": f"{delay}ms"}}
        figures[BATCHING] = await self.edit(ours, watches, edit, delay_us=delay * 1000)
        figures[BATCHING]["hand"] = await timed(self.by_hand(theirs, delay_us=delay * 1000))
        latest: Object = {"latest": {"count": 1}, "specific": None}
        edit = {"versions": self._versions(range(1, new + 1)), "versionPolicy": latest}
        figures[ADDED] = await self.edit(ours, watches, edit, versions=[new])
        figures[ADDED]["hand"] = await timed(self._copy_and_load(theirs, new))
        edit = {"versionPolicy": {"latest": None, "specific": {"versions": [number]}}}
        figures[SWITCH] = await self.edit(ours, watches, edit, versions=[number])
        figures[SWITCH]["hand"] = await timed(self.by_hand(theirs, versions=[number]))
        return figures

    async def _copy_and_load(self, side: Side, version: int) -> None:
        path = f"/volume/repository/{_NAME}/{version}/model.onnx"
        await side.asker.do("fetch", uri=self._sources.uri(f"{version}.onnx"), path=path)
        await self.by_hand(side, versions=[version])


def render(rounds: Sequence[dict[str, dict[str, float]]]) -> str:
    """Show each edit beside the same by hand."""
    rows = []
    for edit in EDITS:
        own = [r[edit] for r in rounds]
        ours, told, theirs = (collect(own, name) for name in ("effect", "told", "hand"))
        rows.append(
            [edit, str(spread(ours)), str(spread(theirs)), f"{ratio(ours, theirs):.2f}", f"{spread(told).median:.2f}"]
        )
    header = [
        f"seconds to effect on all {_REPLICAS} pods, median (min-max) of {len(rounds)}",
        "operator",
        "by hand",
        "ratio",
        "Ready again",
    ]
    return table(header, rows)


async def run(narrator: Narrator, base: Ground, sources: Sources, *, runs: int, tiny: bool) -> str:
    """Measure, and give the report."""
    rounds: list[dict[str, dict[str, float]]] = []
    async with Api(base.kubeconfig) as api:
        for namespace in (_OPERATOR_SPACE, _HAND_SPACE):
            await delete_namespace(api, namespace)
            await make_namespace(api, namespace)
        bench, nothing = LiveBench(api, base, sources), Timeline([])
        kinds = ("ClipModel", "Pod")
        async with (
            Watches(api, _OPERATOR_SPACE, nothing, kinds) as watches,
            Watches(api, _HAND_SPACE, nothing, kinds) as hand_watches,
        ):
            with narrator.step("two pods by hand, two by the operator"):
                addresses = await bench.start_hand_side(hand_watches)
                async with (
                    bench.asker(_OPERATOR_SPACE) as asker,
                    bench.asker(_HAND_SPACE, claim=by_hand.CLAIM) as hand_asker,
                ):
                    ours, theirs = await bench.start_operator_side(watches, asker), Side(hand_asker, addresses)
                    before = restarts(_ready_pods(watches) or [])
                    for i in range(1, runs + 1):
                        rounds.append(await bench.round(i, ours, watches, theirs))
                        told = ", ".join(
                            f"{edit} {rounds[-1][edit]['effect']:.2f} s ({rounds[-1][edit]['hand']:.2f} by hand)"
                            for edit in EDITS
                        )
                        narrator.detail(f"round {i} of {runs}: {told}")
                    if restarts(_ready_pods(watches) or []) != before:
                        raise BenchError("a Triton pod was replaced or restarted: these are no live changes")
        for namespace in (_OPERATOR_SPACE, _HAND_SPACE):
            await delete_namespace(api, namespace)
    resident, highest = ground.operator_memory_mib(base)
    ground.save(
        "live-tiny" if tiny else "live", {"machine": ground.describe_machine(), "rounds": rounds, "rssMiB": resident}
    )
    return f"{render(rounds)}\nno pod was replaced or restarted; operator's memory: VmRSS {resident:.0f} MiB, highest {highest:.0f} MiB"
