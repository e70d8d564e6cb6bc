"""How long until many ClipModels are Ready, how much is written for each, and what does that cost beside the bare writes?

The API server and the operator are real; who would run pods is a stand-in, and Triton another. The operator runs as a process beside
this one, so that its processor time and memory can be read.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.console import Narrator

from bench import control_plane, fake_triton, ground
from bench.api import APPLY, FIELD_MANAGER, Api, Object, delete_namespace, make_namespace, path_of, until
from bench.apply import clip_model
from bench.audit import AuditLog
from bench.errors import BenchError
from bench.fake_triton import FakeTriton
from bench.figures import collect, spread, table
from bench.ground import Ground
from bench.replay import AT_ONCE, CHILDREN, Replay, others_writes
from bench.stand_in import StandIn, Write
from bench.timeline import Timeline, Watches, has_condition
from clipmodel_operator.clients.cluster import connect

MOST = fake_triton.MOST
_SYSTEM = "bench-system"
_SHA256 = "ab" * 32
# Half a second for each ClipModel, and what a start takes: who is slower than that hangs.
_START_S, _EACH_S = 120.0, 0.5
# After the last one is Ready, what the operator still has to say is said within this.
_SETTLE_S = 3.0
#: What replay must have of the objects of a namespace.
_LISTED = (*CHILDREN, "Event", "ClipModel")


@dataclass(frozen=True, slots=True)
class Options:
    """How many, how often, and whether cProfile looks on."""

    number: int
    runs: int
    profile: str | None = None


class OperatorProcess:
    """The operator of this checkout, as a process on this machine."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self._ticks = os.sysconf("SC_CLK_TCK")

    async def wait_started(self) -> None:
        async def has_lists() -> bool:
            self.check()
            return "caches are filled" in self._log.read_text()

        await until(
            has_lists,
            "the operator has listed everything",
            deadline_s=_START_S,
            seen=lambda: self._log.read_text()[-500:],
        )

    def check(self) -> None:
        if self._process.returncode is not None:
            raise BenchError(f"the operator ended: {self._log.read_text()[-1000:]}")

    def cpu_s(self) -> float:
        """Give the processor time so far."""
        # After the name in parentheses, which may have spaces: utime and stime are fields 14 and 15 of all.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / self._ticks

    def memory_mib(self) -> tuple[float, float]:
        return ground.read_memory_mib(Path(f"/proc/{self._process.pid}/status").read_text())

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 30)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


@asynccontextmanager
async def operator_process(base: Ground, namespace: str, *, profile: str | None) -> AsyncIterator[OperatorProcess]:
    ground.OUTPUT.mkdir(parents=True, exist_ok=True)
    log = ground.OUTPUT / "scale-operator.log"
    look_on = ["-m", "cProfile", "-o", profile] if profile else []
    arguments = [
        "operator",
        "--kubeconfig",
        str(base.kubeconfig),
        "--namespace",
        namespace,
        "--operator-namespace",
        _SYSTEM,
    ]
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *look_on,
            "-m",
            "clipmodel_operator.cli",
            *arguments,
            stdout=output,
            stderr=output,
            # Its watches look for a kubeconfig here only.
            env={**os.environ, "KUBECONFIG": str(base.kubeconfig)},
        )
    operator = OperatorProcess(process, log)
    try:
        await operator.wait_started()
        yield operator
    finally:
        await operator.stop()


def is_converged(obj: Mapping[str, Any]) -> bool:
    is_current = (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
    return is_current and has_condition(obj, "Ready") and not has_condition(obj, "Reconciling")


async def _apply_all(stand_in: StandIn, namespace: str, number: int) -> None:
    """Apply all ClipModels, as many at once as the operator works on."""
    names = [f"clip-{i}" for i in reversed(range(number))]

    async def worker() -> None:
        while names:
            name = names.pop()
            manifest = clip_model(name, uri="https://models.example.com/vit-b32.onnx", sha256=_SHA256)
            path = path_of("ClipModel", namespace, name) + f"?fieldManager={FIELD_MANAGER}"
            await stand_in.write(name, "PATCH", path, manifest, APPLY)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _wait_converged(
    watches: Watches, stand_in: StandIn, operator: OperatorProcess, number: int, narrator: Narrator
) -> float:
    """Wait until all are Ready; give the moment."""
    loop = asyncio.get_running_loop()
    end, told = loop.time() + _START_S + _EACH_S * number, 0.0
    while True:
        clips = watches.of_kind("ClipModel")
        ready = sum(map(is_converged, clips))
        if ready == number:
            return loop.time()
        operator.check()
        if stand_in.failure is not None:
            raise BenchError(f"the stand-in failed: {stand_in.failure}") from stand_in.failure
        if loop.time() > end:
            waiting = [
                f"{c['metadata']['name']}: {c.get('status', {}).get('conditions')}"
                for c in clips
                if not is_converged(c)
            ]
            raise BenchError(
                f"{ready} of {number} are Ready; not so: {'; '.join(waiting[:2])[:1500]}. The operator's log: {ground.OUTPUT / 'scale-operator.log'}"
            )
        if loop.time() > told + 5:
            told = loop.time()
            narrator.detail(f"{ready} of {number} Ready, {len(clips)} applied")
        await asyncio.sleep(0.1)


async def _list(api: Api, namespace: str) -> dict[str, list[Object]]:
    return {kind: (await api.request("GET", path_of(kind, namespace)))["items"] for kind in _LISTED}


async def _clear(api: Api, namespace: str) -> None:
    """Delete what is in a namespace while nobody makes it anew, then the namespace: pods on a node that is not there would end by nobody's hand."""
    if await api.get(f"/api/v1/namespaces/{namespace}") is None:
        return
    for kind in (
        "ClipModel",
        "Deployment",
        "Job",
        "Pod",
        "Service",
        "ConfigMap",
        "Secret",
        "Event",
        "PersistentVolumeClaim",
    ):
        if kind == "Service":  # has no deletecollection before Kubernetes 1.36: goes with the namespace
            continue
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        await api.request("DELETE", path_of(kind, namespace), options)
    await api.request("DELETE", f"/api/v1/namespaces/{namespace}")


@dataclass(slots=True)
class _Run:
    """What one run gave: seconds by name, and the operator's writes by kind."""

    seconds: dict[str, float]
    writes: Counter[str]
    bare_writes: int
    other_writes: int


class ScaleBench:
    """One cluster without controllers."""

    def __init__(self, narrator: Narrator, api: Api, base: Ground, options: Options, triton: FakeTriton) -> None:
        self._narrator, self._api, self._ground, self._options, self._triton = narrator, api, base, options, triton

    async def run(self, namespace: str, bare: str) -> _Run:
        """Converge all in one namespace, then write the same to the other."""
        number = self._options.number
        audit = AuditLog.from_now(self._ground.node)
        async with (
            operator_process(self._ground, namespace, profile=self._options.profile) as operator,
            StandIn(self._api, namespace, self._triton) as stand_in,
            Watches(self._api, namespace, Timeline([]), ("ClipModel",)) as watches,
        ):
            loop, own_cpu = asyncio.get_running_loop(), _own_cpu_s()
            idle_cpu, idle_memory = operator.cpu_s(), operator.memory_mib()[0]
            started = loop.time()
            await _apply_all(stand_in, namespace, number)
            applied = loop.time()
            converged = await _wait_converged(watches, stand_in, operator, number, self._narrator)
            seconds = {
                "all applied": applied - started,
                "all Ready": converged - started,
                "operator's processor": operator.cpu_s() - idle_cpu,
                "bench's processor": _own_cpu_s() - own_cpu,
            }
            await asyncio.sleep(_SETTLE_S)
            resident, highest = operator.memory_mib()
            seconds |= {"MiB before": idle_memory, "MiB after": resident, "MiB highest": highest}
            writes = dict(stand_in.writes)
        counted = audit.operator_writes(namespace)
        self._narrator.detail(f"all Ready after {seconds['all Ready']:.1f} s; now the same writes, bare")
        await self._write_bare(namespace, bare, writes, counted, seconds)
        return _Run(seconds, counted, int(seconds.pop("bare count")), int(seconds.pop("others count")))

    async def _write_bare(
        self,
        namespace: str,
        bare: str,
        writes: dict[str, list[Write]],
        counted: Counter[str],
        seconds: dict[str, float],
    ) -> None:
        statuses = sum(n for what, n in counted.items() if what.endswith("clipmodels/status"))
        replay = Replay(bare, await _list(self._api, namespace), statuses=statuses)
        users = {model: own[:1] for model, own in writes.items()}
        others = {model: own[1:] for model, own in writes.items()}
        users_s, users_count = await others_writes(self._api, users, old=namespace, new=bare)
        cluster = await connect(kubeconfig=str(self._ground.kubeconfig))
        try:
            seconds["bare: operator's writes"] = await replay.operator_writes(cluster)
        finally:
            await cluster.close()
        others_s, others_count = await others_writes(self._api, others, old=namespace, new=bare)
        seconds["bare: all writes"] = seconds["bare: operator's writes"] + users_s + others_s
        seconds |= {"bare count": replay.count, "others count": users_count + others_count}


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def render(runs: Sequence[_Run], number: int) -> str:
    """Show times, writes and ratios."""
    seconds = [run.seconds for run in runs]
    names = (
        "all applied",
        "all Ready",
        "bare: operator's writes",
        "bare: all writes",
        "operator's processor",
        "bench's processor",
    )
    rows = [
        [name, str(spread(collect(seconds, name))), f"{1000 * spread(collect(seconds, name)).median / number:.1f}"]
        for name in names
    ]
    parts = [table([f"{number} ClipModels, median (min-max) of {len(runs)}", "seconds", "ms each"], rows)]
    writes = [[what, f"{count / number:.2f}"] for what, count in sorted(runs[-1].writes.items())]
    total = sum(runs[-1].writes.values())
    parts.append(
        table(["the operator's writes, by the audit log", "for each"], [*writes, ["all", f"{total / number:.2f}"]])
    )
    both = spread([s["all Ready"] / s["bare: all writes"] for s in seconds])
    own = spread([s["all Ready"] / s["bare: operator's writes"] for s in seconds])
    rate = runs[-1].bare_writes / seconds[-1]["bare: operator's writes"]
    parts.append(
        f"all Ready / bare writes of the operator ({runs[-1].bare_writes}, {rate:.0f} a second): {own.median:.2f} ({own.low:.2f}-{own.high:.2f})\n"
        f"all Ready / bare writes of everybody ({runs[-1].bare_writes + runs[-1].other_writes}): {both.median:.2f} ({both.low:.2f}-{both.high:.2f}) (aim: 1.5)\n"
        f"operator's memory: {spread(collect(seconds, 'MiB before')).median:.0f} MiB before, {spread(collect(seconds, 'MiB after')).median:.0f} MiB after, "
        f"highest {spread(collect(seconds, 'MiB highest')).median:.0f} MiB"
    )
    return "\n\n".join(parts)


def spaces(run: int) -> tuple[str, str]:
    return f"bench-scale-{run}", f"bench-bare-{run}"


async def run(narrator: Narrator, base: Ground, options: Options) -> str:
    """Measure, and give the report."""
    control_plane.bring_back(base.node)
    ground.install_crd(base)
    ground.stop_operator(base)
    runs: list[_Run] = []
    async with Api(base.kubeconfig) as api:
        namespaces = [name for i in range(1, options.runs + 1) for name in spaces(i)]
        with narrator.step("namespaces"):
            for name in (*namespaces, _SYSTEM):
                await delete_namespace(api, name, deadline_s=600)
            for name in (*namespaces, _SYSTEM):
                await make_namespace(api, name)
        triton = await FakeTriton(fake_triton.make_vectors()).listen(options.number)
        try:
            async with control_plane.without_controllers(api, base.node):
                try:
                    bench = ScaleBench(narrator, api, base, options, triton)
                    for i in range(1, options.runs + 1):
                        with narrator.step(f"run {i} of {options.runs}: {options.number} ClipModels"):
                            runs.append(await bench.run(*spaces(i)))
                finally:
                    for name in (*namespaces, _SYSTEM):
                        await _clear(api, name)
        finally:
            await triton.close()
        raw = [
            {"seconds": r.seconds, "writes": r.writes, "bareWrites": r.bare_writes, "otherWrites": r.other_writes}
            for r in runs
        ]
        ground.save(f"scale-{options.number}", {"machine": ground.describe_machine(), "runs": raw})
    return render(runs, options.number)
