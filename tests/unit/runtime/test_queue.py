"""The work queue: a key is worked on by one worker at a time, is never lost, and waits at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from clipmodel_operator.runtime.queue import WorkQueue

KEYS = st.sampled_from("abc")


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    @override
    def time(self) -> float:
        return self.seconds


class QueueMachine(RuleBasedStateMachine):
    """The queue beside a model of it: what was asked for and not yet begun, what is worked on, and when timers are due."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.loop = _Loop()
        self.queue: WorkQueue[str] = WorkQueue()
        self.wanted: set[str] = set()
        self.active: set[str] = set()
        self.due: dict[str, float] = {}

    def _in_loop(self, act: Callable[[], None]) -> None:
        async def run() -> None:
            act()

        self.loop.run_until_complete(run())

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self._in_loop(lambda: self.queue.add(key))
        self.wanted.add(key)
        self.due.pop(key, None)

    @rule(key=KEYS, delay=st.integers(1, 5))
    def add_after(self, key: str, delay: int) -> None:
        self._in_loop(lambda: self.queue.add_after(key, delay))
        if key not in self.wanted or key in self.active:
            due = self.loop.seconds + delay
            self.due[key] = min(due, self.due.get(key, due))

    @rule(target=taken)
    def get(self) -> str:
        if not len(self.queue):
            return ""
        key = self.loop.run_until_complete(asyncio.wait_for(self.queue.get(), 1))
        assert key in self.wanted, "given out though nobody asked"
        assert key not in self.active, "worked on twice at once"
        self.wanted.discard(key)
        self.active.add(key)
        return key

    @rule(key=taken)
    def done(self, key: str) -> None:
        if key in self.active:
            self._in_loop(lambda: self.queue.done(key))
            self.active.discard(key)
            if key in self.wanted:
                self.due.pop(key, None)

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.loop.seconds += seconds
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        for key in [k for k, due in self.due.items() if due <= self.loop.seconds]:
            del self.due[key]
            self.wanted.add(key)

    @invariant()
    def nothing_is_lost_and_nothing_waits_twice(self) -> None:
        assert len(self.queue) == len(self.wanted - self.active)
        assert self.queue.is_idle == (not (self.wanted or self.active or self.due))

    @override
    def teardown(self) -> None:
        for key in list(self.active):
            self.done(key)
        self.time_passes(10)
        left = {self.get() for _ in range(len(self.queue))}
        assert not self.wanted, f"lost: {self.wanted}, got {left}"
        self.loop.close()


TestQueue = QueueMachine.TestCase


async def test_a_burst_is_one_pass() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(500):
        queue.add("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    for _ in range(500):
        queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1


async def test_keys_come_in_the_order_of_their_first_request() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abcabab":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]


@given(st.lists(KEYS, max_size=30), st.integers(1, 4))
def test_several_workers_never_meet_at_a_key(keys: list[str], workers: int) -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        active: set[str] = set()
        worked: list[str] = []

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in active
                active.add(key)
                await asyncio.sleep(0)
                worked.append(key)
                active.discard(key)
                queue.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for key in keys:
            queue.add(key)
            await asyncio.sleep(0)
        while not queue.is_idle:  # noqa: ASYNC110 - turns of the loop, not time
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(f, asyncio.CancelledError) for f in found), found
        assert set(worked) == set(keys)

    asyncio.run(run())
