"""How long from `kubectl apply` to the first right embedding, phase by phase, beside the same by hand? Runs of both take turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from demo.console import Narrator

from bench import by_hand, ground
from bench.api import Api, Object, delete_namespace, make_namespace, path_of
from bench.asker import Asker
from bench.figures import collect, phases, ratio, spread, table
from bench.ground import Ground, Sources
from bench.timeline import (
    Milestone,
    Timeline,
    Watches,
    component,
    container_state,
    has_condition,
    is_bound,
    server_milestones,
)
from clipmodel_contract.ports import HTTP_PORT

NAME = "clip"
_MODEL = "clip"
_DEADLINE_S = 300.0
FIRST_ANSWER = "first right answer"
#: What the sync Job's log says when a step begins, and how we call the end of the step before.
LOG_MARKS = (
    ("checking the model's tensors", "fetched, digested, flushed"),
    ("embedding the golden images", "inspected"),
    ("is on the volume", "proven, in place"),
)
OPERATOR_ORDER = (
    "claim made",
    "Job made",
    "volume bound",
    "sync container runs",
    "fetched, digested, flushed",
    "inspected",
    "proven, in place",
    "Job's pod ended",
    "ConfigMap made",
    "pod scheduled",
    "container runs",
    "pod ready",
    FIRST_ANSWER,
    "ClipModel Ready",
)
HAND_ORDER = (
    "claim made",
    "volume bound",
    "copier runs",
    "copied",
    "pod scheduled",
    "container runs",
    "pod ready",
    FIRST_ANSWER,
)


@dataclass(frozen=True, slots=True)
class Options:
    """How often, and on what."""

    runs: int
    tiny: bool


def clip_model(name: str, *, uri: str, sha256: str, **spec: Any) -> Object:
    return {
        "apiVersion": "clipmodel.dev/v1alpha1",
        "kind": "ClipModel",
        "metadata": {"name": name},
        "spec": {
            "profile": "cpu",
            "versions": [{"version": 1, "source": {"uri": uri, "sha256": sha256}}],
            "storage": {"size": "5Gi", "reclaimPolicy": "Delete"},
            "serving": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
        }
        | spec,
    }


def read_log_marks(log: str, *, started_at: float) -> dict[str, float]:
    """Find in a log with timestamps when steps began, in seconds after a moment of the wall clock."""
    marks: dict[str, float] = {}
    for line in log.splitlines():
        stamp, _, words = line.partition(" ")
        for sign, name in LOG_MARKS:
            if sign in words:
                # Nanoseconds are more than Python reads.
                text = stamp.removesuffix("Z")[:26]
                marks.setdefault(name, datetime.fromisoformat(text + "+00:00").timestamp() - started_at)
    return marks


class ApplyBench:
    """Runs of both kinds on one cluster."""

    def __init__(self, api: Api, base: Ground, sources: Sources) -> None:
        self._api, self._ground, self._sources = api, base, sources

    def _asker(self, namespace: str) -> Asker:
        return Asker(
            self._api,
            kubeconfig=self._ground.kubeconfig,
            namespace=namespace,
            image=self._ground.images["CLIPMODEL_SYNC_IMAGE"],
        )

    async def _first_answer(self, asker: Asker, watches: Watches, timeline: Timeline, service: str, model: str) -> None:
        """Ask the Service by its address from the moment that it has one: a name that was asked for too early is remembered as absent."""

        def address() -> str | None:
            found = watches.objects.get(("Service", service))
            return str(found["spec"]["clusterIP"]) if found else None

        host = await watches.wait(address, f"Service {service} is there", deadline_s=_DEADLINE_S)
        await asker.do(
            "first_answer",
            deadline_s=_DEADLINE_S,
            address=f"{host}:{HTTP_PORT}",
            model=model,
            expected=self._sources.model.expected,
        )
        timeline.mark(FIRST_ANSWER)

    async def by_operator(self, namespace: str) -> dict[str, float]:
        """Apply a ClipModel."""
        timeline = Timeline(
            [
                Milestone("claim made", "PersistentVolumeClaim", lambda _: True),
                Milestone("Job made", "Job", lambda _: True),
                Milestone("volume bound", "PersistentVolumeClaim", is_bound),
                Milestone(
                    "sync container runs", "Pod", lambda o: component(o) == "sync" and container_state(o) == "running"
                ),
                Milestone(
                    "Job's pod ended", "Pod", lambda o: component(o) == "sync" and container_state(o) == "terminated"
                ),
                Milestone("ConfigMap made", "ConfigMap", lambda o: o["metadata"]["name"] == f"{NAME}-config"),
                *server_milestones(),
                Milestone("ClipModel Ready", "ClipModel", lambda o: has_condition(o, "Ready")),
            ]
        )
        await make_namespace(self._api, namespace)
        async with self._asker(namespace) as asker, Watches(self._api, namespace, timeline) as watches:
            manifest = clip_model(NAME, uri=self._sources.uri("1.onnx"), sha256=self._sources.model.sha256)
            timeline.start()
            started_at = time.time()
            await self._api.apply(path_of("ClipModel", namespace), manifest)
            await self._first_answer(asker, watches, timeline, NAME, _MODEL)
            await watches.wait(
                lambda: "ClipModel Ready" in timeline.marks, "the ClipModel is Ready", deadline_s=_DEADLINE_S
            )
            log = ground.kubectl(
                self._ground,
                "-n",
                namespace,
                "logs",
                "--timestamps",
                "-l",
                "app.kubernetes.io/component=sync",
                "--tail=-1",
            )
            timeline.marks.update(read_log_marks(log, started_at=started_at))
        await delete_namespace(self._api, namespace)
        return timeline.marks

    async def by_hand(self, namespace: str) -> dict[str, float]:
        """Copy the file into a volume, start the same image with the same config, ask."""
        timeline = Timeline(
            [
                Milestone("claim made", "PersistentVolumeClaim", lambda _: True),
                Milestone("volume bound", "PersistentVolumeClaim", is_bound),
                Milestone("copier runs", "Pod", lambda o: component(o) == "sync" and container_state(o) == "running"),
                Milestone("copied", "Pod", lambda o: component(o) == "sync" and container_state(o) == "terminated"),
                *server_milestones(),
            ]
        )
        images, uri = self._ground.images, self._sources.uri("1.onnx")
        config = ground.render_config_pbtxt(clip_model(NAME, uri=uri, sha256=self._sources.model.sha256))
        await make_namespace(self._api, namespace)
        async with self._asker(namespace) as asker, Watches(self._api, namespace, timeline) as watches:
            timeline.start()
            await self._api.apply(path_of("PersistentVolumeClaim", namespace), by_hand.claim())
            copier = by_hand.copier(image=images["CLIPMODEL_SYNC_IMAGE"], uri=uri, model=_MODEL, config=config)
            await self._api.apply(path_of("Pod", namespace), copier)
            await watches.wait(
                lambda: watches.objects.get(("Pod", "copier"), {}).get("status", {}).get("phase") == "Succeeded",
                "the file is copied",
                deadline_s=_DEADLINE_S,
            )
            await self._api.apply(
                path_of("Deployment", namespace),
                by_hand.deployment(image=images["CLIPMODEL_TRITON_IMAGE"], model=_MODEL),
            )
            await self._api.apply(path_of("Service", namespace), by_hand.service())
            await self._first_answer(asker, watches, timeline, by_hand.SERVER, _MODEL)
        await delete_namespace(self._api, namespace)
        return timeline.marks


def render(operator: Sequence[dict[str, float]], hand: Sequence[dict[str, float]]) -> str:
    """Show each phase of both, and the ratio."""
    parts = []
    for title, order, runs in (("by the operator", OPERATOR_ORDER, operator), ("by hand", HAND_ORDER, hand)):
        split = [phases(run, order) for run in runs]
        rows = []
        for name in order:
            own, whole = collect(split, name), collect(runs, name)
            if own:
                rows.append([name, str(spread(own)), f"{spread(whole).median:.2f}"])
        parts.append(table([f"{title}, median (min-max) of {len(runs)}", "seconds", "since the start"], rows))
    ours, theirs = collect(operator, FIRST_ANSWER), collect(hand, FIRST_ANSWER)
    parts.append(
        f"apply to first right answer: {spread(ours)} s; by hand {spread(theirs)} s; ratio {ratio(ours, theirs):.2f} (aim: 1.2 plus pod starts)"
    )
    return "\n\n".join(parts)


def _save(options: Options, operator: Sequence[dict[str, float]], hand: Sequence[dict[str, float]]) -> None:
    name = "apply-tiny" if options.tiny else "apply"
    ground.save(name, {"machine": ground.describe_machine(), "operator": operator, "hand": hand})


async def run(narrator: Narrator, options: Options, base: Ground, sources: Sources) -> str:
    """Measure, and give the report."""
    operator: list[dict[str, float]] = []
    hand: list[dict[str, float]] = []
    async with Api(base.kubeconfig) as api:
        bench = ApplyBench(api, base, sources)
        for i in range(1, options.runs + 1):
            with narrator.step(f"run {i} of {options.runs}"):
                for namespace in (f"bench-operator-{i}", f"bench-hand-{i}"):
                    await delete_namespace(api, namespace)
                operator.append(await bench.by_operator(f"bench-operator-{i}"))
                narrator.detail(f"operator: {operator[-1][FIRST_ANSWER]:.2f} s to the first right answer")
                hand.append(await bench.by_hand(f"bench-hand-{i}"))
                narrator.detail(f"by hand:  {hand[-1][FIRST_ANSWER]:.2f} s")
                _save(options, operator, hand)  # after each run: an interrupted measurement keeps what it has
    resident, highest = ground.operator_memory_mib(base)
    return f"{render(operator, hand)}\noperator's memory: VmRSS {resident:.0f} MiB, highest {highest:.0f} MiB (aim: at most 120)"
