"""A deduplicating work queue: a key is waiting at most once and worked on by at most one worker.

A key added while it is worked on is worked on once more afterwards, however often it was added. This is what turns a burst of watch
events into one or two passes, and what makes it safe to add a key on any suspicion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys to work on, in the order of their first request. One event loop; not for threads."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._held_until: dict[K, float] = {}

    def hold(self, key: K, delay_s: float) -> None:
        """Let no pass over the key begin within `delay_s` seconds, whatever asks for one."""
        if delay_s > 0:
            self._held_until[key] = asyncio.get_running_loop().time() + delay_s

    def _is_held(self, key: K) -> bool:
        """Tell whether the key is held; then a pass is asked for at the end of that."""
        until = self._held_until.get(key)
        if until is None:
            return False
        left_s = until - asyncio.get_running_loop().time()
        if left_s <= 0:
            del self._held_until[key]
            return False
        self.add_after(key, left_s)
        return True

    def add(self, key: K) -> None:
        """Ask for a pass over the key as soon as a worker is free."""
        if key not in self._active and self._is_held(key):
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for a pass after `delay_s` seconds; the earliest of several requests counts."""
        if key in self._waiting:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def get(self) -> K:
        """Wait for a key and take it; `done` must follow."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """Say that the pass over the key has ended."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def __len__(self) -> int:
        """Count keys that wait, without those that wait for a time."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._active or self._timers)
