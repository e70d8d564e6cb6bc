"""What is known of each run of each pod: what a step's end says of it, what its beginning takes away, and when it may be made again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from clipmodel_operator.models.names import Key
from clipmodel_operator.models.observed import Loaded, Outcome, PodView, Verdict
from clipmodel_operator.models.step import Step, StepKind
from clipmodel_operator.reconcile import fleet as module
from clipmodel_operator.reconcile import server_steps
from clipmodel_operator.reconcile.fleet import FIRST_WAIT_S, LONGEST_WAIT_S, Fleet
from clipmodel_operator.reconcile.server_steps import NOT_LOADED, NotWantedError, Result, Subject
from clipmodel_operator.rendering.revision import render_revision
from clipmodel_operator.runtime.steps import StepRunner
from support.builders import SHA_1, UID, Object, build_model, build_record, build_server_pod, build_spec
from support.fake_clock import FakeClock

MODEL = build_model()
ONE = render_revision(MODEL, {1: SHA_1})
FASTER = render_revision(build_model(build_spec(batching={"maxQueueDelay": "1ms"})), {1: SHA_1})
RUNS_ONE = Loaded(ONE.config_ids["cpu"], (1,), None)
DIFFERS = replace(RUNS_ONE, difference="cosine 0.5")
PROOF = frozenset({ONE.proof_of("cpu")})

LOOK, WITHDRAW, CLEAR = Step(StepKind.LOOK), Step(StepKind.WITHDRAW), Step(StepKind.CLEAR)
PROVE, VERIFY, SWITCH = (Step(k, ONE) for k in (StepKind.PROVE, StepKind.VERIFY, StepKind.SWITCH))
DONE, LOST = Result(Outcome.DONE), Result(Outcome.LOST, "no answer")
REFUSED, WRONG = Result(Outcome.REFUSED, "no", 1), Result(Outcome.DIFFERS, "cosine 0.6", 1)
LOOKED = Result(Outcome.DONE, loaded=RUNS_ONE, proved=PROOF, has_candidate=False)


class World:
    """A fleet whose steps end as they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.runner: StepRunner[Key] = StepRunner()
        self.woken: list[Key] = []
        self.fleet = Fleet(cast("Any", None), self.runner, self.clock, self.woken.append)
        self.fleet.want(UID, {ONE.id, FASTER.id})
        self.pod = build_server_pod()
        self.result: Result | Exception = DONE
        self.during: Callable[[], None] = lambda: None
        """What is done while a step is under way."""
        self.performed: list[str] = []
        self.told: list[tuple[Subject, tuple[Any, ...], dict[str, Any]]] = []
        for name in ("look", "prove", "verify", "switch", "withdraw", "clear"):
            monkeypatch.setattr(server_steps, name, self._step(name))

    def _step(self, name: str) -> Callable[..., Awaitable[Result]]:
        async def step(_triton: object, subject: Subject, *args: Any, **kwargs: Any) -> Result:
            self.performed.append(name)
            self.told.append((subject, args, kwargs))
            await asyncio.sleep(0)
            self.during()
            if isinstance(self.result, Exception):
                raise self.result
            return self.result

        return step

    def view(self, *pods: Object, was_interrupted: bool = False) -> PodView:
        return self.fleet.view(UID, pods or (self.pod,), was_interrupted=was_interrupted)[0]

    async def do(self, step: Step, result: Result | Exception = DONE, *, is_wanted: bool = True) -> PodView:
        """Make a step on the pod, and give what is known afterwards."""
        self.result = result
        self.start(step, is_wanted=is_wanted)
        while not self.runner.is_idle:  # noqa: ASYNC110 - turns of the loop, not time
            await asyncio.sleep(0)
        return self.view()

    def start(self, step: Step, *, is_wanted: bool = True) -> None:
        self.fleet.start(
            MODEL,
            self.view(),
            step,
            known=(ONE, FASTER),
            records=(build_record(),),
            control_key="the-key",
            is_wanted=lambda: is_wanted,
        )

    def wait_of(self, step: Step) -> float | None:
        return self.view().waits.get(step.name)

    def set_ready(self, *, is_ready: bool) -> None:
        self.pod["status"]["conditions"] = [{"type": "Ready", "status": str(is_ready)}]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


# What is known.


def test_of_a_pod_that_was_never_asked_nothing_is_known(world: World) -> None:
    assert world.view() == PodView(world.pod, "cpu")


async def test_a_look_tells_what_it_runs(world: World) -> None:
    view = await world.do(LOOK, replace(LOOKED, has_candidate=True))
    assert view == PodView(world.pod, "cpu", RUNS_ONE, is_asked=True, has_candidate=True, proved=PROOF)
    assert world.woken == [MODEL.key], "the next pass sees what came of it"
    (subject, args, kwargs) = world.told[0]
    assert (subject.server.address, subject.server.control_key) == ("10.0.0.1", "the-key")
    assert (subject.model, subject.profile, subject.tensors) == ("clip", "cpu", MODEL.tensors)
    assert (subject.known, set(subject.records)) == ((ONE, FASTER), {SHA_1})
    assert (args, kwargs) == ((), {})


async def test_one_that_does_not_answer_was_asked_all_the_same(world: World) -> None:
    view = await world.do(LOOK, LOST)
    assert (view.is_asked, view.loaded) == (True, None)


async def test_what_is_under_way_is_told(world: World) -> None:
    world.start(LOOK)
    assert world.view().is_busy
    world.start(LOOK)
    await asyncio.sleep(0.0)
    assert world.performed == ["look"], "one at a time"


async def test_another_run_of_the_container_is_asked_anew(world: World) -> None:
    await world.do(LOOK, LOOKED)
    world.pod["status"]["containerStatuses"][0]["containerID"] = "containerd://next"
    assert world.view() == PodView(world.pod, "cpu")


async def test_what_a_step_finds_of_a_run_that_has_ended_is_nobodys(world: World) -> None:
    def end() -> None:
        world.pod["status"]["containerStatuses"][0]["containerID"] = "containerd://next"
        world.view()

    world.during = end
    assert await world.do(LOOK, LOOKED) == PodView(world.pod, "cpu")


async def test_another_resource_of_the_name_starts_with_nothing(world: World) -> None:
    await world.do(LOOK, LOOKED)
    world.fleet.forget(UID)
    assert world.view() == PodView(world.pod, "cpu")


async def test_of_one_that_does_not_run_nothing_is_said(world: World) -> None:
    await world.do(LOOK, LOOKED)
    running = world.pod["status"]["containerStatuses"][0].pop("state")
    world.pod["status"]["containerStatuses"][0]["state"] = {"waiting": {}}
    assert world.view().loaded is None
    world.pod["status"]["containerStatuses"][0]["state"] = running
    assert world.view().loaded == RUNS_ONE


async def test_a_look_compares_by_the_tolerance_of_the_revision_that_it_is_for(world: World) -> None:
    """Two revisions of one config differ in it. Whichever it is looked at for, it is the same step, and it tries nothing."""
    await world.do(PROVE, REFUSED)
    world.fleet.want(UID, set())
    view = await world.do(Step(StepKind.LOOK, FASTER), LOST)
    (subject, _, _) = world.told[-1]
    assert subject.known == (FASTER, ONE, FASTER)
    assert view.verdict == Verdict(ONE.id, Outcome.REFUSED, "no", 1)
    assert world.wait_of(LOOK) == FIRST_WAIT_S


# What a step changes when it begins, and when it ends.


async def test_each_step_is_performed_as_what_it_is(world: World) -> None:
    for step in (LOOK, WITHDRAW, CLEAR, Step(StepKind.PROVE, ONE, (1,)), VERIFY, SWITCH):
        await world.do(step)
    assert world.performed == ["look", "withdraw", "clear", "prove", "verify", "switch"]
    assert [(args, kwargs) for _, args, kwargs in world.told] == [
        ((), {}),
        ((), {}),
        ((), {}),
        ((ONE,), {"alone": (1,)}),
        ((ONE,), {}),
        ((ONE,), {"is_unsure": False}),
    ]


async def test_from_when_a_proof_begins_something_may_be_under_the_candidates_name(world: World) -> None:
    await world.do(LOOK, LOOKED)
    found = list[PodView]()
    world.during = lambda: found.append(world.view())
    view = await world.do(PROVE, replace(DONE, proved=frozenset({"another"}), has_candidate=False))
    assert (found[0].has_candidate, found[0].loaded) == (True, RUNS_ONE)
    assert (view.has_candidate, view.loaded, view.proved) == (False, RUNS_ONE, PROOF | {"another"})


async def test_from_when_a_switch_begins_what_runs_is_not_known(world: World) -> None:
    await world.do(LOOK, LOOKED)
    found = list[PodView]()
    world.during = lambda: found.append(world.view())
    view = await world.do(SWITCH, replace(LOOKED, proved=frozenset()))
    assert (found[0].loaded, found[0].is_unsure) == (None, True)
    assert (view.loaded, view.is_unsure) == (RUNS_ONE, False)
    assert view.proved == PROOF, "what was proven stays so"


@pytest.mark.parametrize(("result", "is_unsure"), [(LOST, True), (REFUSED, False), (WRONG, False), (DONE, False)])
async def test_only_an_answer_tells_what_a_load_has_come_to(world: World, result: Result, *, is_unsure: bool) -> None:
    view = await world.do(SWITCH, result)
    assert view.is_unsure == is_unsure
    await world.do(LOOK, LOOKED)
    assert world.view().is_unsure == is_unsure, "a look does not: the load may be under way"
    await world.do(SWITCH, LOOKED)
    assert [kwargs["is_unsure"] for _, args, kwargs in world.told if args] == [False, is_unsure], "the barrier"
    assert not world.view().is_unsure


@pytest.mark.parametrize("step", [PROVE, VERIFY])
@pytest.mark.parametrize("result", [LOST, REFUSED, WRONG])
async def test_after_a_step_that_failed_what_runs_is_asked_for(world: World, step: Step, result: Result) -> None:
    """What failed beside it may have taken what serves along."""
    await world.do(LOOK, LOOKED)
    view = await world.do(step, result)
    assert (view.loaded, view.is_asked) == (None, False)


async def test_a_bug_of_ours_is_no_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    view = await world.do(SWITCH, KeyError("innards"))
    assert view.is_unsure
    assert view.verdict == Verdict(ONE.id, Outcome.LOST, "the operator has a bug, see its log")
    assert world.wait_of(SWITCH) == FIRST_WAIT_S
    assert "KeyError: 'innards'" in caplog.text
    await world.do(Step(StepKind.PROVE))
    assert "needs a revision" in caplog.text


# Where nothing is loaded, since it embedded otherwise.


async def test_of_one_that_was_withdrawn_it_is_said_why(world: World) -> None:
    await world.do(LOOK, replace(LOOKED, loaded=DIFFERS))
    view = await world.do(WITHDRAW, replace(DONE, loaded=NOT_LOADED))
    assert view.loaded == Loaded("", (), "cosine 0.5")
    assert view.loaded.is_wrong
    view = await world.do(PROVE, WRONG)
    assert view.loaded == Loaded("", (), "cosine 0.6"), "what it answered last; nothing was there to be taken along"
    view = await world.do(SWITCH, LOOKED)
    assert view.loaded == RUNS_ONE
    view = await world.do(LOOK, replace(DONE, loaded=NOT_LOADED))
    assert view.loaded == NOT_LOADED, "that was another story"


async def test_of_one_that_a_switch_has_withdrawn_too(world: World) -> None:
    view = await world.do(SWITCH, replace(WRONG, loaded=NOT_LOADED))
    assert view.loaded == Loaded("", (), "cosine 0.6")


async def test_one_that_has_nothing_loaded_for_another_reason_is_not_called_wrong(world: World) -> None:
    await world.do(LOOK, LOOKED)
    await world.do(PROVE, WRONG)  # beside what serves
    view = await world.do(LOOK, replace(DONE, loaded=NOT_LOADED))
    assert view.loaded == NOT_LOADED
    assert (await world.do(PROVE, LOST)).loaded is None, "who does not answer may be gone"


# Steps that are not wanted.


async def test_a_step_that_is_not_wanted_when_its_turn_comes_changes_nothing(world: World) -> None:
    before = await world.do(LOOK, LOOKED)
    assert await world.do(SWITCH, LOST, is_wanted=False) == before
    world.fleet.want(UID, {FASTER.id})
    assert await world.do(SWITCH, LOST) == before, "another revision is wanted by now"
    assert world.performed == ["look"]
    assert len(world.woken) == 3, "the pass that follows plans by what is wanted now"
    await world.do(LOOK, LOOKED)
    assert world.performed == ["look"] * 2, "what loads nothing is always wanted"


@pytest.mark.parametrize("was_unsure", [False, True])
async def test_a_step_that_ends_before_it_loads_leaves_no_doubt_of_its_own(world: World, *, was_unsure: bool) -> None:
    world.view(was_interrupted=was_unsure)
    await world.do(LOOK, LOOKED)
    asked = list[bool]()

    def change_the_spec() -> None:
        (subject, _, _) = world.told[-1]
        asked.append(subject.is_wanted())
        world.fleet.want(UID, set())
        asked.append(subject.is_wanted())

    world.during = change_the_spec
    view = await world.do(SWITCH, NotWantedError())
    assert asked == [True, False]
    assert view.is_unsure == was_unsure
    assert (view.verdict, dict(view.waits)) == (None, {})


async def test_what_waits_for_its_turn_is_dropped(world: World) -> None:
    world.runner = StepRunner(at_once_each=0)
    world.fleet = Fleet(cast("Any", None), world.runner, world.clock, world.woken.append)
    world.start(LOOK)
    assert world.view().is_busy
    world.fleet.drop_waiting(MODEL.key)
    assert not world.view().is_busy


# An attempt that another process began.


def test_after_an_interrupted_attempt_every_run_is_unsure(world: World) -> None:
    other = build_server_pod("clip-1")
    views = world.fleet.view(UID, (world.pod, other), was_interrupted=True)
    assert [v.is_unsure for v in views] == [True, True]
    late = build_server_pod("clip-2")
    views = world.fleet.view(UID, (world.pod, other, late), was_interrupted=True)
    assert [v.is_unsure for v in views] == [True, True, False], "it came after the other process"


def test_an_attempt_of_our_own_makes_nobody_unsure(world: World) -> None:
    assert not world.view().is_unsure
    assert not world.view(was_interrupted=True).is_unsure


def test_also_where_there_was_no_pod_at_first(world: World) -> None:
    assert world.fleet.view(UID, (), was_interrupted=True) == ()
    assert not world.view(was_interrupted=True).is_unsure


async def test_the_answer_to_a_load_makes_sure(world: World) -> None:
    world.view(was_interrupted=True)
    assert (await world.do(LOOK, LOOKED)).is_unsure
    assert (await world.do(PROVE, DONE)).is_unsure
    assert not (await world.do(SWITCH, LOOKED)).is_unsure
    assert world.told[-1][2] == {"is_unsure": True}


# Verdicts.


@pytest.mark.parametrize("step", [PROVE, VERIFY, SWITCH])
async def test_what_came_of_a_try_is_told_until_it_was_taken_note_of(world: World, step: Step) -> None:
    for result in (REFUSED, WRONG):
        view = await world.do(step, result)
        assert view.verdict == Verdict(ONE.id, result.outcome, result.message, 1)
        assert world.view().verdict == view.verdict, "as long as nothing was written down"
        world.fleet.take_note(UID, [view])
        assert world.view().verdict is None


async def test_a_try_that_succeeds_takes_the_verdict_before_away(world: World) -> None:
    await world.do(PROVE, REFUSED)
    assert (await world.do(PROVE, DONE)).verdict is None


async def test_what_a_look_finds_is_no_verdict(world: World) -> None:
    await world.do(PROVE, REFUSED)
    view = await world.do(LOOK, LOST)
    assert view.verdict == Verdict(ONE.id, Outcome.REFUSED, "no", 1)


async def test_an_answer_that_was_lost_says_something_only_when_it_is_known_whether_the_server_still_runs(
    world: World,
) -> None:
    view = await world.do(PROVE, LOST)
    world.fleet.take_note(UID, [view])
    assert world.view().verdict == Verdict(ONE.id, Outcome.LOST, "no answer")
    view = await world.do(LOOK, LOOKED)
    assert view.verdict is not None
    world.fleet.take_note(UID, [view])
    assert world.view().verdict is None


async def test_what_came_since_a_pass_has_looked_is_left_for_the_next(world: World) -> None:
    seen = await world.do(PROVE, REFUSED)
    await world.do(PROVE, REFUSED)
    world.fleet.take_note(UID, [seen])
    assert world.view().verdict is not None
    world.fleet.take_note("nobody", [seen])


# When a step that failed may be made again.


@pytest.mark.parametrize("step", [PROVE, VERIFY, SWITCH, CLEAR])
async def test_what_loads_is_made_again_less_and_less_often(world: World, step: Step) -> None:
    waits = list[float]()
    for _ in range(9):
        view = await world.do(step, LOST)
        waits.append(view.waits[step.name])
        world.clock.seconds += waits[-1]
        assert world.wait_of(step) is None, "then it may"
    assert waits == [5, 10, 20, 40, 80, 160, LONGEST_WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_S]
    await world.do(step, DONE)
    assert world.wait_of(step) is None
    await world.do(step, LOST)
    assert world.wait_of(step) == FIRST_WAIT_S


@pytest.mark.parametrize(("step", "result"), [(LOOK, LOST), (LOOK, replace(LOOKED, loaded=DIFFERS)), (WITHDRAW, LOST)])
async def test_what_loads_nothing_is_made_again_soon_however_often(world: World, step: Step, result: Result) -> None:
    """That a pod answers, or answers rightly, by now is no event; and one that embeds otherwise must leave the Service."""
    for _ in range(20):
        await world.do(step, result)
        assert world.wait_of(step) == FIRST_WAIT_S
        world.clock.seconds += FIRST_WAIT_S
    await world.do(step, LOOKED)
    assert world.wait_of(step) is None


async def test_steps_of_other_revisions_and_of_other_runs_have_their_own_times(world: World) -> None:
    await world.do(PROVE, REFUSED)
    assert set(world.view().waits) == {PROVE.name}
    await world.do(Step(StepKind.PROVE, FASTER), REFUSED)
    assert set(world.view().waits) == {PROVE.name, Step(StepKind.PROVE, FASTER).name}
    world.pod["status"]["containerStatuses"][0]["containerID"] = "containerd://next"
    assert not world.view().waits


async def test_a_pod_that_becomes_ready_or_is_no_more_is_asked_at_once(world: World) -> None:
    """It says something else by now. What loads waits all the same: no event cancels that."""
    for is_ready in (False, True):
        await world.do(LOOK, LOST)
        await world.do(SWITCH, LOST)
        assert set(world.view().waits) == {LOOK.name, SWITCH.name}
        world.set_ready(is_ready=is_ready)
        assert set(world.view().waits) == {SWITCH.name}


def test_waits_are_as_documented() -> None:
    assert (module.FIRST_WAIT_S, module.LONGEST_WAIT_S) == (5.0, 300.0)
