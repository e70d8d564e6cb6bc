from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from clipmodel_operator.clients.reader import ReadError, ReadForbiddenError
from clipmodel_operator.inspection.codes import StatusCode
from clipmodel_operator.inspection.follow import Follower, LineSink, Question, follow_status, look, show_status
from clipmodel_operator.inspection.gather import Gatherer, NoSuchClipModelError
from clipmodel_operator.inspection.overview import Overview
from support.builders import NAME, NAMESPACE, NOW, SHA_2, build_spec, build_version
from support.simulation import Simulation

ONE_CLIP = Question(NAMESPACE, NAME)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def world(spec: Any = None, *, settled: bool = True) -> Simulation:
    simulation = Simulation()
    simulation.create(spec)
    if settled:
        await simulation.settle()
    return simulation


WRONG = build_spec(build_version(sha256=SHA_2))


@pytest.mark.parametrize(
    ("spec", "settled", "code"),
    [(None, True, StatusCode.READY), (WRONG, True, StatusCode.NOT_READY), (None, False, StatusCode.PROGRESSING)],
    ids=["ready", "failed", "on the way"],
)
@pytest.mark.parametrize("name", [NAME, None], ids=["one", "all"])
async def test_the_exit_code_says_how_it_is(
    make_reads: Any,
    console: Console,
    spec: Any,
    settled: bool,  # noqa: FBT001 - a table
    code: StatusCode,
    name: str | None,
) -> None:
    simulation = await world(spec, settled=settled)
    assert await show_status(make_reads(simulation.cluster), Question(NAMESPACE, name), console) is code
    assert NAME in printed(console)


async def test_no_clip_models_are_nothing_to_complain_of(make_reads: Any, console: Console) -> None:
    assert await show_status(make_reads(Simulation().cluster), Question("empty"), console) is StatusCode.READY
    assert printed(console) == "There are no ClipModels in namespace empty.\n"


async def test_where_there_is_no_terminal_nothing_wraps_and_nothing_is_coloured(
    make_reads: Any, console: Console
) -> None:
    simulation = await world(WRONG)
    await show_status(make_reads(simulation.cluster), ONE_CLIP, console)
    out = printed(console)
    assert "\x1b" not in out
    assert simulation.condition("Ready")["message"] in out  # type: ignore[index]  # it is there
    assert not [line for line in out.splitlines() if line != line.rstrip()]


async def test_a_terminal_is_coloured_and_obeys_its_width(make_reads: Any, terminal: Console) -> None:
    simulation = await world(WRONG)
    await show_status(make_reads(simulation.cluster), ONE_CLIP, terminal)
    out = printed(terminal)
    assert "\x1b[" in out
    assert max(len(line) for line in Console(width=100).render_str(out).plain.splitlines()) < 400


async def test_no_color_is_obeyed(make_reads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False, emoji=False, markup=False)
    await show_status(make_reads((await world(WRONG)).cluster), ONE_CLIP, terminal)
    assert "\x1b[3" not in printed(terminal)
    assert "DigestMismatch" in printed(terminal)


async def test_json_is_for_programs(make_reads: Any, console: Console) -> None:
    simulation = await world()
    await show_status(make_reads(simulation.cluster), Question(NAMESPACE, NAME, as_json=True), console)
    one = json.loads(printed(console))
    assert (one["name"], one["outcome"], one["servingVersions"]) == (NAME, "Ready", [1])
    console.file = io.StringIO()
    await show_status(make_reads(simulation.cluster), Question(None, as_json=True), console)
    assert [item["name"] for item in json.loads(printed(console))["items"]] == [NAME]


class Sink:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[list[str], str | None]] = []

    def show(self, overviews: Sequence[Overview], trouble: str | None) -> None:
        self.shown.append(([o.outcome.value for o in overviews], trouble))


def follower(reads: Any, sink: Any, sleep: Any, question: Question = ONE_CLIP) -> Follower:
    return Follower(Gatherer(reads), question, sink, lambda: NOW, sleep)


async def test_it_follows_until_it_is_settled(make_reads: Any) -> None:
    simulation, sink = await world(settled=False), Sink()

    async def sleep(_: float) -> None:
        await simulation.settle()

    await asyncio.wait_for(follower(make_reads(simulation.cluster), sink, sleep).follow(until_settled=True), 30)
    assert [outcomes for outcomes, _ in sink.shown] == [["Progressing"], ["Ready"]]


async def test_it_stops_waiting_where_a_person_must_act(make_reads: Any) -> None:
    simulation, sink = await world(WRONG), Sink()

    async def sleep(_: float) -> None:
        pytest.fail("it waits on")

    await follower(make_reads(simulation.cluster), sink, sleep).follow(until_settled=True)
    assert [outcomes for outcomes, _ in sink.shown] == [["NotReady"]]


async def test_a_cluster_that_goes_away_for_a_while_is_waited_for(make_reads: Any) -> None:
    simulation, sink = await world(settled=False), Sink()
    reads = make_reads(simulation.cluster)

    async def sleep(_: float) -> None:
        if len(sink.shown) == 1:
            reads.broken = {"ClipModel"}
        elif len(sink.shown) == 2:
            reads.broken = set()
            await simulation.settle()

    await follower(reads, sink, sleep).follow(until_settled=True)
    assert sink.shown == [(["Progressing"], None), (["Progressing"], "the cluster does not answer."), (["Ready"], None)]


@pytest.mark.parametrize(("how", "error"), [("broken", ReadError), ("refused", ReadForbiddenError)])
async def test_a_cluster_that_never_answered_is_an_error(make_reads: Any, how: str, error: type[Exception]) -> None:
    reads = make_reads((await world()).cluster)
    setattr(reads, how, {"ClipModel"})
    with pytest.raises(error):
        await follower(reads, Sink(), asyncio.sleep).follow(until_settled=False)


async def test_one_that_is_deleted_ends_it(make_reads: Any) -> None:
    simulation = await world()

    async def sleep(_: float) -> None:
        simulation.cluster.remove(simulation.clip)

    with pytest.raises(NoSuchClipModelError, match="was deleted"):
        await follower(make_reads(simulation.cluster), Sink(), sleep).follow(until_settled=False)


async def test_lines_tell_each_change_once(make_reads: Any) -> None:
    simulation, told = await world(settled=False), list[str]()
    reads = make_reads(simulation.cluster)
    question = Question(NAMESPACE)
    sink = LineSink(told.append, question, lambda: NOW)
    for _ in range(3):
        sink.show(await look(Gatherer(reads), question, now=NOW), None)
    assert len(told) == 2, "what it is, and its version"
    await simulation.settle()
    for _ in range(3):
        sink.show(await look(Gatherer(reads), question, now=NOW), None)
    pod, proven = simulation.pods()[0]["metadata"]["name"], simulation.clip["status"]["rollout"]["provenRevision"]
    assert [line.removeprefix("12:00:00  demo/clip  ").split(",")[0].strip() for line in told[2:]] == [
        "Ready",
        f"revision {proven} proven",
        "version 1 Serving",
        f"pod {pod} ready (Running)",
    ]
    for _ in range(2):
        sink.show((), "the cluster does not answer.")
    simulation.cluster.remove(simulation.clip)
    for _ in range(2):
        sink.show(await look(Gatherer(reads), question, now=NOW), None)
    assert told[6:] == [
        "12:00:00  the cluster does not answer. Trying again.\n",
        "12:00:00  demo/clip  is gone\n",
        "12:00:00  there are no ClipModels in namespace demo\n",
    ]


ROLLOUT = {"provenRevision": "r1", "targetRevision": "r1"}


def set_rollout(simulation: Simulation, *, pod: str | None = "r1", **rollout: Any) -> None:
    name = simulation.pods()[0]["metadata"]["name"]
    status = {
        "rollout": ROLLOUT | rollout,
        "pods": [{"name": name, "ready": True, **({"revision": pod} if pod else {})}],
    }
    simulation.cluster.edit(simulation.clip, lambda o: o["status"].update(status))


async def test_lines_tell_of_revisions_without_times_that_move(make_reads: Any) -> None:
    simulation, told = await world(), list[str]()
    reads = make_reads(simulation.cluster)
    sink = LineSink(told.append, ONE_CLIP, lambda: NOW)
    set_rollout(simulation)
    sink.show(await look(Gatherer(reads), ONE_CLIP, now=NOW), None)
    assert [line for line in told if "revision r1 proven" in line]
    assert [line for line in told if "ready (Running), revision r1" in line]
    told.clear()
    failed = {
        "targetRevision": "r2",
        "phase": "Waiting",
        "tries": 1,
        "notBefore": "2026-11-22T12:04:00Z",
        "reason": "No.",
    }
    set_rollout(simulation, pod=None, **failed)
    for minutes in range(3):
        now = NOW + timedelta(minutes=minutes)
        sink.show(await look(Gatherer(reads), ONE_CLIP, now=now), None)
    assert [line.removeprefix("12:00:00  demo/clip  ") for line in told] == [
        "revision r2 Waiting, 1 try, not before 2026-11-22T12:04:00Z, proven r1: No.\n",
        f"pod {simulation.pods()[0]['metadata']['name']} ready (Running)\n",
    ]
    told.clear()
    set_rollout(simulation, pod=None, targetRevision="r2")
    sink.show(await look(Gatherer(reads), ONE_CLIP, now=NOW), None)
    assert told == ["12:00:00  demo/clip  revision r2 wanted, proven r1\n"]


async def test_json_has_the_revisions(make_reads: Any, console: Console) -> None:
    simulation = await world()
    set_rollout(
        simulation, targetRevision="r2", phase="Waiting", tries=3, notBefore="2026-11-22T12:04:00Z", reason="No."
    )
    await show_status(make_reads(simulation.cluster), Question(NAMESPACE, NAME, as_json=True), console)
    one = json.loads(printed(console))
    assert {k: v for k, v in one["rollout"].items() if k not in {"dueS", "advice"}} == {
        "provenRevision": "r1",
        "targetRevision": "r2",
        "phase": "Waiting",
        "tries": 3,
        "notBefore": "2026-11-22T12:04:00Z",
        "reason": "No.",
        "isCurrent": True,
    }
    assert "clipmodel.dev/retry" in one["rollout"]["advice"]
    assert (one["strategy"], one["pods"][0]["revision"]) == ("InPlace", "r1")


async def test_a_download_says_something_every_ten_percent(make_reads: Any) -> None:
    simulation, told = await world(), list[str]()
    reads = make_reads(simulation.cluster)
    pod = next(p for p in simulation.cluster.all("Pod") if p not in simulation.pods())
    pod["status"] = simulation.pods()[0]["status"]
    pod["spec"] = {"containers": [{"args": ["--version=1"]}]}
    sink = LineSink(told.append, ONE_CLIP, lambda: NOW)
    for percent in range(100):
        reads.logs = {pod["metadata"]["name"]: f"fetching x: {percent} % {percent} B of 100 B 1 B/s"}
        sink.show(await look(Gatherer(reads), ONE_CLIP, now=NOW), None)
    assert sum(" % of 100 B" in line for line in told) == 10


async def test_time_runs_out_with_the_code_of_what_was_seen(
    make_reads: Any, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation = await world(settled=False)
    code = await follow_status(make_reads(simulation.cluster), ONE_CLIP, console, until_settled=True, timeout_s=0.2)
    assert code is StatusCode.PROGRESSING
    assert "not settled within 0.2 s" in capsys.readouterr().err


async def test_a_terminal_is_drawn_in_place(make_reads: Any, terminal: Console) -> None:
    simulation = await world()
    code = await follow_status(make_reads(simulation.cluster), ONE_CLIP, terminal, until_settled=True, timeout_s=30)
    assert code is StatusCode.READY
    assert "Serving" in printed(terminal)


_PROGRAM = """
import asyncio, io, os, signal, sys
from rich.console import Console
from clipmodel_operator.inspection.follow import Question, follow_status
from support.simulation import Simulation
from unit.inspection.conftest import FakeReads
class Out(io.StringIO):
    told = False
    def write(self, text):
        sys.stdout.write(text)
        # Once something was seen: on a busy machine no number of seconds says when that is.
        if "Ready" in text and not self.told:
            self.told = True
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        return len(text)
async def main():
    simulation = Simulation()
    simulation.create()
    await simulation.settle()
    question = Question("demo", "clip")
    return await follow_status(FakeReads(simulation.cluster), question, Console(file=Out()), until_settled=False, timeout_s=30)
sys.exit(asyncio.run(main()))
"""


def test_ctrl_c_ends_with_the_code_of_what_was_seen() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (StatusCode.READY, ""), done
    assert "demo/clip  Ready" in done.stdout
