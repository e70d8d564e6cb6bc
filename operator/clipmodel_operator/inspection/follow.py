"""Look once, or again and again: what `clipmodel status` does between its arguments and its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic.alias_generators import to_camel
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from clipmodel_operator.clients.reader import AbsentError, ReadForbiddenError
from clipmodel_operator.inspection.codes import StatusCode
from clipmodel_operator.inspection.gather import Gatherer, NoSuchClipModelError, Reads
from clipmodel_operator.inspection.lines import changed_lines, facts_of
from clipmodel_operator.inspection.overview import Overview, assess_overview, worst
from clipmodel_operator.inspection.show import show_many, show_one
from clipmodel_operator.models.errors import ClipModelError
from clipmodel_operator.runtime.standard_output import READER_GONE, is_reader_gone

# A sync Job says how far it is once a second.
_LOOK_EVERY_S = 1.0
# Wide enough that nothing wraps: lines are for grep, not for a screen.
_NO_TERMINAL_WIDTH = 4000


class Sink(Protocol):
    """Where what is seen goes."""

    def show(self, overviews: Sequence[Overview], trouble: str | None) -> None:
        """Take in what was seen last, and why it cannot be seen anew."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for; without a name all of the namespace, without that all there are."""

    namespace: str | None
    name: str | None = None
    as_json: bool = False

    @property
    def where(self) -> str:
        return f"namespace {self.namespace}" if self.namespace else "any namespace"


async def look(gatherer: Gatherer, question: Question, *, now: datetime) -> tuple[Overview, ...]:
    """Look once. Raises ClipModelError."""
    if question.name is not None and question.namespace is not None:
        return (assess_overview(await gatherer.one(question.namespace, question.name), now=now),)
    return tuple(assess_overview(found, now=now) for found in await gatherer.many(question.namespace))


def code_of(overviews: Sequence[Overview]) -> StatusCode:
    return worst([o.outcome for o in overviews]).code


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(str(k)): _camel(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_camel(v) for v in value]
    return value


def as_json(overviews: Sequence[Overview], question: Question, *, indent: int | None = 2) -> str:
    """Give what is known as JSON: one object where a name was given, else a list of them."""
    items = [_camel(dataclasses.asdict(o)) for o in overviews]
    return json.dumps(items[0] if question.name is not None else {"items": items}, indent=indent, ensure_ascii=False)


def render(overviews: Sequence[Overview], question: Question) -> RenderableType:
    if question.name is not None:
        return show_one(overviews[0])
    return show_many(overviews, with_namespace=question.namespace is None, where=question.where)


def print_once(overviews: Sequence[Overview], question: Question, console: Console) -> None:
    """Print to a terminal as wide as it is; elsewhere in full lines without padding."""
    if question.as_json:
        console.file.write(as_json(overviews, question) + "\n")
    elif console.is_terminal:
        console.print(render(overviews, question))
    else:
        page = io.StringIO()
        Console(file=page, width=_NO_TERMINAL_WIDTH, no_color=True, highlight=False).print(render(overviews, question))
        console.file.write("".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines()))


class LiveSink:
    """A terminal: drawn anew in place."""

    def __init__(self, live: Live, question: Question) -> None:
        self._live = live
        self._question = question

    def show(self, overviews: Sequence[Overview], trouble: str | None) -> None:
        from rich.console import Group

        seen = render(overviews, self._question) if overviews or trouble is None else Text()
        shown = Group(seen, Text(f"\n! {trouble} Trying again.", style="yellow")) if trouble else seen
        self._live.update(shown, refresh=True)


class LineSink:
    """A pipe or a log: a line for each change, with its time."""

    def __init__(self, write: Callable[[str], object], question: Question, clock: Callable[[], datetime]) -> None:
        self._write = write
        self._question = question
        self._clock = clock
        self._known: dict[tuple[str, str], dict[str, str]] = {}
        self._trouble: str | None = None
        self._is_begun = False

    def show(self, overviews: Sequence[Overview], trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            self._say(f"{trouble} Trying again.")
        self._trouble = trouble
        if trouble is not None:
            return
        seen = {(o.namespace, o.name): facts_of(o) for o in overviews}
        for key, facts in seen.items():
            for line in changed_lines(self._known.get(key), facts):
                self._say(f"{'/'.join(key)}  {line}")
        for key in self._known.keys() - seen.keys():
            self._say(f"{'/'.join(key)}  is gone")
        if not seen and (self._known or not self._is_begun):
            self._say(f"there are no ClipModels in {self._question.where}")
        self._known, self._is_begun = seen, True

    def _say(self, line: str) -> None:
        self._write(f"{self._clock().strftime('%H:%M:%S')}  {line}\n")


class JsonSink:
    """A program: a line of JSON for each change."""

    def __init__(self, write: Callable[[str], object], question: Question) -> None:
        self._write = write
        self._question = question
        self._known: object = None

    def show(self, overviews: Sequence[Overview], trouble: str | None) -> None:
        if trouble is not None:
            return
        known = [facts_of(o) for o in overviews]
        if known != self._known:
            self._write(as_json(overviews, self._question, indent=None) + "\n")
        self._known = known


@dataclass(slots=True)
class Follower:
    """Looks every second; remembers what it saw last, for the exit code."""

    gatherer: Gatherer
    question: Question
    sink: Sink
    clock: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    is_reader_gone: Callable[[], bool] = lambda: False
    """Nothing may be written for hours: without asking, the command would outlive `| head -1` for as long."""
    seen: tuple[Overview, ...] | None = None
    is_ended: bool = False
    """Somebody asked for the end: a cancellation can get lost in what a look awaits."""

    async def follow(self, *, until_settled: bool) -> None:
        """Follow until everything is settled, or for ever. A cluster that answered once may be away for a while."""
        while not self.is_ended:
            trouble = None
            try:
                self.seen = await look(self.gatherer, self.question, now=self.clock())
            except NoSuchClipModelError:
                if self.seen is None:
                    raise
                raise NoSuchClipModelError(f"ClipModel {self.question.name} was deleted") from None
            except (ReadForbiddenError, AbsentError):
                raise
            except ClipModelError as error:
                if self.seen is None:
                    raise
                trouble = str(error)
            self.sink.show(self.seen or (), trouble)
            if until_settled and trouble is None and all(o.is_settled for o in self.seen or ()):
                return
            if not self.is_ended:
                await self.sleep(_LOOK_EVERY_S)
            if self.is_reader_gone():
                raise SystemExit(READER_GONE)


def _now() -> datetime:
    return datetime.now(UTC)


async def show_status(reads: Reads, question: Question, console: Console) -> StatusCode:
    """Look once, print, and give the exit code."""
    overviews = await look(Gatherer(reads), question, now=_now())
    print_once(overviews, question, console)
    return code_of(overviews)


def _local_now() -> datetime:
    return datetime.now().astimezone()


def _end_on_interrupt(follower: Follower) -> None:
    """Let Ctrl-C end the following: at once by a cancellation, and where that gets lost, after the look that is under way."""
    task = asyncio.current_task()

    def end() -> None:
        follower.is_ended = True
        if task is not None:
            task.cancel()

    # Not in another thread than the main one, and not on every system.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, end)


async def follow_status(
    reads: Reads, question: Question, console: Console, *, until_settled: bool, timeout_s: float | None
) -> StatusCode:
    """Follow until interrupted, or until all is settled; the exit code is of what was seen last."""

    def write(line: str) -> None:
        console.file.write(line)
        console.file.flush()

    async def run(sink: Sink) -> StatusCode:
        follower = Follower(Gatherer(reads), question, sink, _now, is_reader_gone=lambda: is_reader_gone(console.file))
        _end_on_interrupt(follower)
        try:
            async with asyncio.timeout(timeout_s):
                await follower.follow(until_settled=until_settled)
        except TimeoutError:
            sys.stderr.write(f"clipmodel: not settled within {timeout_s:g} s\n")
        except asyncio.CancelledError:
            # Ctrl-C: asyncio cancels the main task. What was seen is the answer.
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
        return code_of(follower.seen) if follower.seen is not None else StatusCode.UNKNOWN

    if question.as_json:
        return await run(JsonSink(write, question))
    if not console.is_terminal or console.is_dumb_terminal:
        return await run(LineSink(write, question, _local_now))
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        return await run(LiveSink(live, question))
