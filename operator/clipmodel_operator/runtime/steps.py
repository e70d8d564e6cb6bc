"""Work that takes long, beside the workers: at most one piece at a time in each place, and no owner in the way of another.

A pass starts pieces and ends; when one has ended its owner is told, and the next pass sees what came of it. Owners take turns, and each has only a
few pieces under way at once, so that one whose servers hang holds up nobody. One event loop; not for threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

#: All together. Most of the time a piece waits for a server; a golden image is 0.6 MB while it is sent.
AT_ONCE = 256
#: Of one owner.
AT_ONCE_EACH = 16

O = TypeVar("O", bound=Hashable)  # noqa: E741 - an owner


class StepRunner(Generic[O]):
    """Runs pieces of work, each in a place that takes one at a time."""

    def __init__(self, *, at_once: int = AT_ONCE, at_once_each: int = AT_ONCE_EACH) -> None:
        self._at_once = at_once
        self._at_once_each = at_once_each
        self._waiting: OrderedDict[O, deque[tuple[Hashable, Callable[[], Awaitable[None]], Callable[[], None]]]] = (
            OrderedDict()
        )
        self._running: dict[O, set[asyncio.Task[None]]] = defaultdict(set)
        self._taken: set[Hashable] = set()
        self._count = 0

    def is_taken(self, place: Hashable) -> bool:
        """Tell whether a piece waits or runs in a place."""
        return place in self._taken

    @property
    def is_idle(self) -> bool:
        return not self._taken

    def start(
        self, owner: O, place: Hashable, work: Callable[[], Awaitable[None]], *, on_end: Callable[[], None]
    ) -> bool:
        """Do a piece of work when it is its owner's turn, and call `on_end`, however it ended. Gives False where the place is taken."""
        if place in self._taken:
            return False
        self._taken.add(place)
        self._waiting.setdefault(owner, deque()).append((place, work, on_end))
        if self._may_start(owner):
            self._start_one(owner)
        return True

    def drop_waiting(self, owner: O) -> None:
        """Forget an owner's pieces that have not begun."""
        for place, _, _ in self._waiting.pop(owner, ()):
            self._taken.discard(place)

    async def cancel_all(self) -> None:
        """End all pieces where they are."""
        for owner in list(self._waiting):
            self.drop_waiting(owner)
        tasks = [task for running in self._running.values() for task in running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _may_start(self, owner: O) -> bool:
        """Tell whether an owner may start one more. Whoever has nothing under way always may: full is only what others fill."""
        own = len(self._running.get(owner, ()))
        return own < self._at_once_each and (own == 0 or self._count < self._at_once)

    def _start_next(self, ended: O) -> None:
        """Give away a place that has become free: to its owner, where that has nothing else under way, then to whoever has waited longest."""
        if ended in self._waiting and not self._running.get(ended) and self._may_start(ended):
            self._start_one(ended)
        for owner in list(self._waiting):
            if self._count >= self._at_once:
                return
            if owner in self._waiting and self._may_start(owner):
                self._start_one(owner)

    def _start_one(self, owner: O) -> None:
        pieces = self._waiting[owner]
        place, work, on_end = pieces.popleft()
        if pieces:
            self._waiting.move_to_end(owner)
        else:
            del self._waiting[owner]
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._running[owner].add(task)
        self._count += 1
        task.add_done_callback(lambda ended: self._end(ended, owner, place, on_end))

    @staticmethod
    async def _run(work: Callable[[], Awaitable[None]]) -> None:
        await work()

    def _end(self, task: asyncio.Task[None], owner: O, place: Hashable, on_end: Callable[[], None]) -> None:
        self._running[owner].discard(task)
        if not self._running[owner]:
            del self._running[owner]
        self._taken.discard(place)
        self._count -= 1
        if not task.cancelled() and task.exception() is not None:
            logger.error("a bug in the operator", exc_info=task.exception())
        if not task.cancelled():
            on_end()
        self._start_next(owner)
