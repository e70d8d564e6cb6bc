"""What is known of each run of each Triton pod, and the steps that are under way on it.

Nothing that a pod holds is taken from memory alone: after a restart of the operator, and after a container's, every pod is asked anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from clipmodel_contract.report import VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.pods import is_ready, is_running, run_of, started_profile
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.observed import Loaded, Outcome, PodView, Verdict
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.server import Server
from clipmodel_operator.models.step import Step, StepKind
from clipmodel_operator.reconcile import server_steps
from clipmodel_operator.reconcile.server_steps import NotWantedError, Result, Subject, Triton, records_by_digest
from clipmodel_operator.runtime.clock import Clock
from clipmodel_operator.runtime.steps import StepRunner

logger = logging.getLogger(__name__)

#: A pod that does not answer, or answers wrongly, is asked again after this long. What loads comes less and less often.
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0


@dataclass(slots=True)
class _Run:
    """What is known of one run of one pod."""

    loaded: Loaded | None = None
    before: Loaded | None = None
    is_unsure: bool = False
    has_candidate: bool = False
    proved: frozenset[str] = frozenset()
    verdict: Verdict | None = None
    failed: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    """Steps that failed: how often in a row, and when each may be made again, by the monotonic clock."""
    was_ready: bool = False
    is_asked: bool = False
    was_wrong: str = ""
    """How it embedded otherwise, while nothing is loaded since then: it was withdrawn for that."""


@dataclass(slots=True)
class _Pods:
    """What is known of the pods of one ClipModel."""

    runs: dict[str, _Run] = field(default_factory=dict)
    is_begun: bool = False
    """It was looked at before, by this process."""
    wanted: frozenset[str] = frozenset()
    """Revisions that may be loaded, as the last pass has planned it."""


class Fleet:
    """Remembers what each run of each pod said, and starts steps on them."""

    def __init__(self, triton: Triton, runner: StepRunner[Key], clock: Clock, wake: Callable[[Key], None]) -> None:
        """Take whom to tell that a step of a key has ended: the next pass sees what came of it."""
        self._triton = triton
        self._runner = runner
        self._clock = clock
        self._wake = wake
        self._pods: dict[str, _Pods] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a ClipModel."""
        self._pods.pop(uid, None)

    def view(
        self, uid: str, pods: Sequence[Mapping[str, Any]], *, was_interrupted: bool = False
    ) -> tuple[PodView, ...]:
        """Say what is known of every pod.

        `was_interrupted`: an attempt is open that another process may have begun. What that one sent may be under way still: until a load of ours
        has returned, what a pod says of itself counts for little.
        """
        known = self._pods.setdefault(uid, _Pods())
        runs = {run_of(p): known.runs.get(run_of(p)) for p in pods}
        is_first, known.is_begun = not known.is_begun, True
        fresh = partial(_Run, is_unsure=is_first and was_interrupted)
        known.runs = {run: found or fresh() for run, found in runs.items()}
        return tuple(self._view(pod, known.runs[run_of(pod)]) for pod in pods)

    def _view(self, pod: Mapping[str, Any], run: _Run) -> PodView:
        is_there = is_running(pod)
        if is_ready(pod) != run.was_ready:
            run.was_ready = is_ready(pod)
            run.failed.pop(Step(StepKind.LOOK).name, None)  # it says something else by now
        now = self._clock.monotonic()
        return PodView(
            pod=pod,
            profile=started_profile(pod),
            loaded=_loaded(run) if is_there else None,
            before=run.before if is_there else None,
            is_asked=run.is_asked,
            is_busy=self._runner.is_taken(run_of(pod)),
            is_unsure=run.is_unsure,
            has_candidate=run.has_candidate,
            proved=run.proved,
            verdict=run.verdict,
            waits={step: due - now for step, (_, due) in run.failed.items() if due > now},
            tries={step: tries for step, (tries, _) in run.failed.items()},
        )

    def want(self, uid: str, revisions: Iterable[str]) -> None:
        """Say which revisions may be loaded from now on. A step that waits for something ends before it loads another."""
        self._pods.setdefault(uid, _Pods()).wanted = frozenset(revisions)

    def drop_waiting(self, key: Key) -> None:
        """Forget steps that have not begun: the pass that asks says anew what is wanted."""
        self._runner.drop_waiting(key)

    def take_note(self, uid: str, views: Sequence[PodView]) -> None:
        """Drop verdicts that were acted upon, and written down."""
        runs = self._pods.get(uid, _Pods()).runs
        for view in views:
            run = runs.get(run_of(view.pod))
            if run is not None and run.verdict is view.verdict and (view.verdict is None or not _is_open(view)):
                run.verdict = None

    def start(
        self,
        model: ClipModel,
        view: PodView,
        step: Step,
        *,
        known: tuple[Revision, ...],
        records: Sequence[VersionRecord],
        control_key: str,
        is_wanted: Callable[[], bool],
    ) -> None:
        """Start a step on a pod, unless one is under way there. It is left out where it is not wanted any more when its turn comes."""
        place = run_of(view.pod)
        pods = self._pods.setdefault(model.uid, _Pods())
        run = pods.runs.setdefault(place, _Run())
        tried = _tried(step)

        def may_load() -> bool:
            return is_wanted() and (tried is None or tried.id in pods.wanted)

        subject = Subject(
            server=Server(str(view.pod["status"]["podIP"]), control_key),
            model=model.model_name,
            profile=view.profile,
            tensors=model.tensors,
            known=known,
            records=records_by_digest(records),
            is_wanted=may_load,
        )

        async def work() -> None:
            if not may_load():
                return
            was_unsure = run.is_unsure
            _begin(run, step)
            try:
                result = await self._perform_safely(subject, step, is_unsure=was_unsure)
            except NotWantedError:
                run.is_unsure = was_unsure
                return
            _end(run, step, result, self._clock.monotonic())

        self._runner.start(model.key, place, work, on_end=lambda: self._wake(model.key))

    async def _perform_safely(self, subject: Subject, step: Step, *, is_unsure: bool) -> Result:
        """Perform; a bug of ours is no answer, and comes back less and less often."""
        try:
            return await self._perform(subject, step, is_unsure=is_unsure)
        except NotWantedError:
            raise
        except Exception:
            logger.exception("%s: a bug in the operator", step.kind.value)
            return Result(Outcome.LOST, "the operator has a bug, see its log")

    async def _perform(self, subject: Subject, step: Step, *, is_unsure: bool) -> Result:
        match step:
            case Step(StepKind.LOOK, revision):
                known = (revision, *subject.known) if revision is not None else subject.known
                return await server_steps.look(self._triton, replace(subject, known=known))
            case Step(StepKind.WITHDRAW):
                return await server_steps.withdraw(self._triton, subject)
            case Step(StepKind.CLEAR):
                return await server_steps.clear(self._triton, subject)
            case Step(StepKind.PROVE, Revision() as revision):
                return await server_steps.prove(self._triton, subject, revision, alone=step.alone)
            case Step(StepKind.VERIFY, Revision() as revision):
                return await server_steps.verify(self._triton, subject, revision)
            case Step(StepKind.SWITCH, Revision() as revision):
                return await server_steps.switch(self._triton, subject, revision, is_unsure=is_unsure)
            case _:
                raise ValueError(f"a step of kind {step.kind} needs a revision")


def _is_open(view: PodView) -> bool:
    """Tell whether a verdict waits for more: an answer that was lost says something only when it is known whether the server still runs."""
    return view.verdict is not None and view.verdict.outcome is Outcome.LOST and view.loaded is None


def _loaded(run: _Run) -> Loaded | None:
    """Give what it runs. Of one that was withdrawn it is said why: it does not just start."""
    loaded = run.loaded
    if loaded is None or loaded.config_id or not run.was_wrong:
        return loaded
    return replace(loaded, difference=run.was_wrong, is_compared=True)


def _tried(step: Step) -> Revision | None:
    """Give the revision that a step tries on a server; a look tries nothing."""
    return step.revision if step.kind is not StepKind.LOOK else None


def _begin(run: _Run, step: Step) -> None:
    """What is known of a run changes when something is sent to it, not when it answers."""
    if step.kind is StepKind.PROVE:
        run.has_candidate = True
    if step.kind is StepKind.SWITCH:
        run.is_unsure = True
        run.before = _proven(run.loaded)
        run.loaded = None


def _proven(loaded: Loaded | None) -> Loaded | None:
    return loaded if loaded is not None and loaded.difference is None else None


def _end(run: _Run, step: Step, result: Result, now: float) -> None:
    """Take in what came of a step."""
    run.before = None
    has_nothing = run.loaded is not None and not run.loaded.config_id
    run.was_wrong = _was_wrong(run, step, result, has_nothing=has_nothing)
    if result.has_candidate is not None:
        run.has_candidate = result.has_candidate
    run.proved |= result.proved
    if step.kind in {StepKind.LOOK, StepKind.SWITCH, StepKind.WITHDRAW}:
        run.loaded = result.loaded
    if step.kind is StepKind.SWITCH:
        run.is_unsure = result.outcome is Outcome.LOST
    is_as_it_was = has_nothing and result.outcome is not Outcome.LOST
    if step.kind in {StepKind.PROVE, StepKind.VERIFY} and result.outcome is not Outcome.DONE and not is_as_it_was:
        # Is it still there? What failed beside it may have taken what serves along; by another tolerance than its own it may differ, or not.
        run.before = _proven(run.loaded) if step.kind is StepKind.PROVE else None
        run.loaded = None
    run.is_asked = step.kind is StepKind.LOOK or run.loaded is not None
    tried = _tried(step)
    if tried is not None:
        run.verdict = None
        if result.outcome is not Outcome.DONE:
            run.verdict = Verdict(tried.id, result.outcome, result.message, result.version)
    _count(run, step, result, now)


def _was_wrong(run: _Run, step: Step, result: Result, *, has_nothing: bool) -> str:
    if result.loaded is not None and result.loaded.config_id:
        return (result.loaded.difference or "") if result.loaded.is_wrong else ""
    is_withdrawn = step.kind is StepKind.SWITCH or has_nothing
    return result.message if result.outcome is Outcome.DIFFERS and is_withdrawn else run.was_wrong


def _count(run: _Run, step: Step, result: Result, now: float) -> None:
    """Have a step that failed wait before it is made again."""
    is_wrong = step.kind is StepKind.LOOK and result.loaded is not None and result.loaded.difference is not None
    if result.outcome is Outcome.DONE and not is_wrong:
        run.failed.pop(step.name, None)
        return
    tries = run.failed.get(step.name, (0, 0.0))[0]
    # One that embeds otherwise is told to leave the Service until it has heard it.
    growth = 1.0 if step.kind in {StepKind.LOOK, StepKind.WITHDRAW} else 2.0
    run.failed[step.name] = (tries + 1, now + min(FIRST_WAIT_S * growth ** min(tries, 16), LONGEST_WAIT_S))
