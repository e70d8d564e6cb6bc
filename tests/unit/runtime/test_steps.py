"""Work beside the workers: one piece in each place, turns between owners, and no owner in the way of another."""

from __future__ import annotations

import asyncio
import functools
import logging

import pytest

from clipmodel_operator.runtime.steps import StepRunner


class Work:
    """Pieces of work that go on until they are let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        """Whose end was told."""
        self.gates: dict[str, asyncio.Event] = {}

    def start(self, runner: StepRunner[str], owner: str, place: str) -> bool:
        gate = self.gates.setdefault(place, asyncio.Event())

        async def work() -> None:
            self.begun.append(place)
            await gate.wait()

        return runner.start(owner, place, work, on_end=functools.partial(self.ended.append, place))

    def start_all(self, runner: StepRunner[str], *places: str) -> None:
        """Start a piece in each place; its first letter is its owner."""
        for place in places:
            assert self.start(runner, place[0], place)

    async def let_go(self, *places: str) -> None:
        for place in places:
            self.gates[place].set()
        await turn()


def is_idle(runner: StepRunner[str]) -> bool:
    return runner.is_idle


async def turn() -> None:
    """Let tasks begin, end, and be told of."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_place_takes_one_piece_at_a_time() -> None:
    runner, work = StepRunner[str](), Work()
    assert is_idle(runner)
    assert work.start(runner, "a", "a1")
    assert runner.is_taken("a1"), "from the moment that it is asked for"
    assert not work.start(runner, "a", "a1")
    assert not work.start(runner, "b", "a1"), "whoever asks"
    await turn()
    assert not work.start(runner, "a", "a1")
    assert not is_idle(runner)
    await work.let_go("a1")
    assert (work.begun, work.ended) == (["a1"], ["a1"])
    assert is_idle(runner)
    assert not runner.is_taken("a1")
    assert work.start(runner, "a", "a1"), "and the next one after it"


async def test_an_owner_has_only_so_many_under_way() -> None:
    runner, work = StepRunner[str](at_once_each=2), Work()
    work.start_all(runner, "a1", "a2", "a3", "a4", "b1")
    await turn()
    assert work.begun == ["a1", "a2", "b1"]
    assert runner.is_taken("a3"), "it waits for its turn"
    await work.let_go("a2")
    assert work.begun[3:] == ["a3"]
    await work.let_go("a1", "a3")
    assert work.begun[4:] == ["a4"]


async def test_all_together_have_only_so_many_under_way() -> None:
    runner, work = StepRunner[str](at_once=3), Work()
    work.start_all(runner, "a1", "a2", "a3", "a4")
    await turn()
    assert work.begun == ["a1", "a2", "a3"]
    await work.let_go("a1")
    assert work.begun[3:] == ["a4"]


async def test_who_has_nothing_under_way_always_may() -> None:
    """Full is only what others fill: eight whose servers hang keep nobody waiting."""
    runner, work = StepRunner[str](at_once=4, at_once_each=2), Work()
    work.start_all(runner, "a1", "a2", "b1", "b2", "c1", "c2")
    await turn()
    assert work.begun == ["a1", "a2", "b1", "b2", "c1"]
    work.start_all(runner, "d1")
    await turn()
    assert work.begun[5:] == ["d1"]
    await work.let_go("c1")
    assert work.begun[6:] == ["c2"], "it has nothing under way"


async def test_owners_take_turns() -> None:
    """Whoever asked for a hundred pieces is not served a hundred times before who asked for one."""
    runner, work = StepRunner[str](at_once=2), Work()
    work.start_all(runner, "a1", "b1", "a2", "a3", "a4", "b2", "b3")
    await turn()
    assert work.begun == ["a1", "b1"]
    for place in ("a1", "b1", "a2", "b2", "a3"):
        await work.let_go(place)
    assert work.begun[2:] == ["a2", "b2", "a3", "b3", "a4"]


async def test_what_waits_can_be_dropped_and_is_not_told_of() -> None:
    runner, work = StepRunner[str](at_once_each=1), Work()
    work.start_all(runner, "a1", "a2", "b1", "b2")
    await turn()
    runner.drop_waiting("a")
    assert not runner.is_taken("a2")
    assert runner.is_taken("a1"), "it is under way"
    await work.let_go("a1", "b1")
    assert work.begun == ["a1", "b1", "b2"]
    assert work.ended == ["a1", "b1"]
    runner.drop_waiting("nobody")
    assert work.start(runner, "a", "a2"), "it can be asked for again"


async def test_all_can_be_ended() -> None:
    runner, work = StepRunner[str](at_once_each=1), Work()
    work.start_all(runner, "a1", "a2", "b1")
    await turn()
    await runner.cancel_all()
    assert runner.is_idle, "it has waited for their ends"
    assert work.begun == ["a1", "b1"], "what waited does not begin when what was before it ends"
    assert work.ended == [], "there is nobody left who would plan by it"


async def test_a_piece_that_breaks_is_logged_and_told_of_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    runner, work = StepRunner[str](at_once_each=1), Work()

    async def breaks() -> None:
        raise KeyError("a bug")

    assert runner.start("a", "a0", breaks, on_end=functools.partial(work.ended.append, "a0"))
    work.start_all(runner, "a1")
    with caplog.at_level(logging.ERROR):
        await turn()
    assert "a bug in the operator" in caplog.text
    assert "KeyError: 'a bug'" in caplog.text
    assert work.ended == ["a0"]
    assert work.begun == ["a1"]
    assert not runner.is_taken("a0")


async def test_who_hears_of_an_end_finds_the_place_free() -> None:
    """The pass that follows plans the next piece for it."""
    runner, work, found = StepRunner[str](), Work(), list[bool]()

    async def nothing() -> None:
        pass

    runner.start("a", "a1", nothing, on_end=lambda: found.append(work.start(runner, "a", "a1")))
    await turn()
    assert found == [True]
    assert work.begun == ["a1"]
