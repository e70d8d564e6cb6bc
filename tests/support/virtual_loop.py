"""An event loop whose time is a FakeClock's: nothing sleeps, and whoever drives it knows when all tasks wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from typing_extensions import override

from support.fake_clock import FakeClock

T = TypeVar("T")
#: More turns than any task takes between two waits.
_MOST_TURNS = 10_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks until they wait; timers are due when the clock is moved."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._world_clock = clock
        # Tasks of an operator that was killed end with what killed it, and nobody asks them.
        self.set_exception_handler(lambda _loop, _context: None)

    @override
    def time(self) -> float:
        return self._world_clock.seconds

    def _attribute(self, name: str) -> Any:
        # What asyncio keeps to itself: nothing public tells whether anything can run.
        return getattr(self, name)

    def run_until_blocked(self) -> None:
        """Let tasks run until all of them wait for an answer or for a time to come."""
        for _ in range(_MOST_TURNS):
            self.call_soon(self.stop)
            self.run_forever()
            due = self.next_timer()
            if not self._attribute("_ready") and (due is None or due > self.time()):
                return
        raise AssertionError("tasks do not come to rest")

    def next_timer(self) -> float | None:
        """Give when the next timer is due."""
        return min((t.when() for t in self._attribute("_scheduled") if not t.cancelled()), default=None)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what waits for nothing to its end."""
        task = self.create_task(work)
        self.run_until_blocked()
        assert task.done(), "it waits"
        return task.result()

    def run_until(self, is_over: Callable[[], bool], *, at_most_s: float) -> bool:
        """Let tasks run and time pass, from timer to timer, until it is over. Gives whether it came to that."""
        end = self.time() + at_most_s
        while True:
            self.run_until_blocked()
            due = self.next_timer()
            if is_over():
                return True
            if due is None or due > end:
                self._world_clock.seconds = end
                return False
            self._world_clock.seconds = max(due, self._world_clock.seconds)

    def cancel_all(self) -> None:
        """End all tasks."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run_until_blocked()

    def end(self) -> None:
        """End all tasks, and close."""
        self.cancel_all()
        self.close()
