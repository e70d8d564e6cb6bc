"""Bringing pods from revision to revision: what is committed, what is attempted, and the next step of every pod.

Level-triggered: it follows from the ledger, the record of attempts and what is known of the pods now. An attempt goes through phases
(models.attempt.Phase); what it must not forget when the operator dies is written before the first load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from clipmodel_operator.assessment.pods import (
    has_started,
    is_crashing,
    is_ending,
    is_ready,
    is_running,
    may_read,
    restarts,
    run_of,
    slot_of,
)
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.step import StepKind
from clipmodel_operator.planning.attempt_failure import STARTS_BEFORE_TRIAL, find_failure
from clipmodel_operator.planning.failures import (
    count_tries,
    failure_of,
    left,
    with_failure,
    without_failures_of,
)
from clipmodel_operator.planning.pod_step import has_proved, next_look, next_step, next_withdrawal, runs
from clipmodel_operator.planning.situation import PodStep, RolloutPlan, Situation


def may_load(record: RolloutRecord, ledger: Ledger) -> bool:
    """Tell whether an attempt is open that may have something loaded under the real name at this moment."""
    attempt = record.attempt
    return attempt is not None and (attempt.phase is not Phase.PROVING or ledger.proven is None)


def plan_rollout(s: Situation) -> RolloutPlan:
    """Plan what is committed, attempted and done now."""
    if s.is_paused:
        return _with_recheck(s, RolloutPlan(s.ledger, s.record, s.target, _looks(s)))
    return _with_recheck(s, _with_withdrawals(s, _plan(s)))


def _with_withdrawals(s: Situation, plan: RolloutPlan) -> RolloutPlan:
    """Have every pod that embeds otherwise leave the Service, also one that is to be replaced, and for which nothing else is done."""
    planned = {run_of(v.pod) for v, _ in plan.steps}
    found = ((v, next_withdrawal(v)) for v in s.views if run_of(v.pod) not in planned)
    return replace(plan, steps=(*plan.steps, *((v, step) for v, step in found if step is not None)))


def _plan(s: Situation) -> RolloutPlan:
    target, attempt, proven = s.target, s.record.attempt, s.ledger.proven
    if proven is None:
        return _plan_first(s)
    if attempt is not None and attempt.revision == proven.id and attempt.phase is not Phase.RETURNING:
        # The operator ended between the commit and what follows it: whatever has happened to pods since then, it did not fail.
        s = replace(s, record=replace(without_failures_of(s.record, attempt.target), attempt=None))
        attempt = None
    if attempt is not None:
        failure = find_failure(s, attempt)
        if failure is not None:
            return _return(replace(s, record=with_failure(s.record, failure)), attempt)
        is_wanted = target is not None and attempt.revision == target.id and not _is_forbidden(s, target)
        if attempt.phase is Phase.RETURNING or not is_wanted:
            return _return(s, attempt)
    if target is None or target.id == proven.id or _is_forbidden(s, target):
        return _rest(s)
    if s.replaces or (attempt is not None and attempt.phase is Phase.REPLACING):
        return _replace(s, target)
    return _in_place(s, target)


def _is_forbidden(s: Situation, revision: Revision) -> bool:
    return failure_of(s.record, revision, template=s.template, now=s.now) is not None


def _plan_first(s: Situation) -> RolloutPlan:
    """Nothing is proven. What a starting pod reads follows the target until a pod serves: what that one runs is proven by it, whatever is asked for by now."""
    ready, ledger = _ready(s), s.ledger
    for revision in (r for r in (ledger.boot, ledger.previous) if r is not None):
        if any(runs(v, revision) for v in ready):
            return _commit(s, revision, slot=ledger.slot)
    for revision in (r for r in map(s.recover, ready) if r is not None):
        return _commit(s, revision, slot=ledger.slot)
    has_moved = s.target is not None and ledger.boot is not None and ledger.boot.id != s.target.id
    may_move = ledger.boot is None or _is_forbidden(s, ledger.boot) or not any(map(_may_serve_yet, s.views))
    if s.target is not None and (ledger.boot is None or (has_moved and may_move)):
        ledger = replace(ledger, boot=s.target, previous=ledger.boot if has_moved else ledger.previous)
    if ledger.boot is None:
        return RolloutPlan(ledger, s.record, s.target)
    s = replace(s, ledger=ledger)
    attempt = s.record.attempt
    failure = find_failure(s, attempt) if attempt is not None else None
    if failure is not None:
        s, attempt = replace(s, record=with_failure(s.record, failure)), None
    if _is_forbidden(s, ledger.boot):
        return RolloutPlan(ledger, replace(s.record, attempt=None), s.target, _looks(s))
    if ready and s.target is not None and s.target.id == ledger.boot.id:
        return _in_place(s, ledger.boot)  # the ledger was lost, and pods run something else
    return _start_with(s, ledger.boot, attempt)


def _may_serve_yet(view: PodView) -> bool:
    """Tell whether a pod that has read what to start with may serve by it in a while."""
    if is_ending(view.pod) or not is_running(view.pod):
        return False
    is_failing = view.loaded is not None and view.loaded.is_wrong
    return is_ready(view.pod) or not (is_failing or restarts(view.pod))


def _start_with(s: Situation, boot: Revision, attempt: Attempt | None) -> RolloutPlan:
    """Have pods that start with something older load what they should, one at a time: a load may end them."""
    steps = _steps_to(s, boot, s.views)
    loads = [(v, step) for v, step in steps if step.kind is StepKind.SWITCH]
    others = tuple((v, step) for v, step in steps if step.kind is not StepKind.SWITCH)
    members = _still_there(attempt, s.views) if attempt is not None and attempt.revision == boot.id else ()
    known = {run_of(v.pod): v for v in s.views}
    if members and not runs(known[members[0]], boot):
        loads = [(v, step) for v, step in loads if run_of(v.pod) in members]
    elif loads:
        loads = loads[:1]
        members = (run_of(loads[0][0].pod),)
    else:
        members = ()
    attempt = replace(_begin(s, boot, Phase.PROVING), pods=members) if members else None
    return RolloutPlan(s.ledger, replace(s.record, attempt=attempt), s.target, (*others, *loads))


def _begin(s: Situation, target: Revision, phase: Phase) -> Attempt:
    """Begin the next try of a target."""
    return Attempt(target, phase, count_tries(s.record, target, template=s.template) + 1)


def _looks(s: Situation) -> tuple[PodStep, ...]:
    """Look at pods of which nothing is known, and do no more."""
    return tuple((v, step) for v in s.views if (step := next_look(v)) is not None)


def _ready(s: Situation) -> list[PodView]:
    return [v for v in s.views if is_ready(v.pod)]


def _known(s: Situation) -> tuple[Revision, ...]:
    return s.ledger.revisions


def _steps_to(s: Situation, goal: Revision, views: Iterable[PodView]) -> tuple[PodStep, ...]:
    found = ((v, next_step(v, goal, _known(s))) for v in views)
    return tuple((v, step) for v, step in found if step is not None)


def _commit(s: Situation, revision: Revision, *, slot: str) -> RolloutPlan:
    """Commit what pods have proven."""
    others = (s.ledger.proven, s.ledger.boot, s.ledger.previous)
    previous = next((r for r in others if r is not None and r.id != revision.id), None)
    ledger = replace(s.ledger, boot=revision, proven=revision, previous=previous, slot=slot)
    record = replace(without_failures_of(s.record, revision), attempt=None)
    committed = replace(s, ledger=ledger, record=record)
    return RolloutPlan(ledger, record, s.target, _steps_to(committed, revision, s.views))


def _rest(s: Situation) -> RolloutPlan:
    """Have all pods run what is proven. What is read at start follows, where it was on trial."""
    ledger = s.ledger
    goal = ledger.proven or ledger.boot
    if goal is None:
        return RolloutPlan(ledger, s.record, s.target)
    ledger = replace(ledger, boot=goal)
    record = replace(s.record, attempt=None)
    return RolloutPlan(ledger, record, s.target, _steps_to(replace(s, ledger=ledger), goal, s.views))


def _return(s: Situation, attempt: Attempt) -> RolloutPlan:
    """Bring pods back to what is proven. The attempt is open until they are there: a load of it may be under way still."""
    goal = s.ledger.proven
    if goal is None:
        return RolloutPlan(s.ledger, replace(s.record, attempt=None), s.target)
    others = [v for v in s.views if not is_ending(v.pod) and slot_of(v.pod) != s.ledger.slot]
    ours = [v for v in s.views if not is_ending(v.pod) and v not in others]
    # One that was withdrawn is brought back for as long as it takes, and holds up nobody.
    begun = [v for v in ours if is_running(v.pod) and (is_ready(v.pod) or (has_started(v.pod) and v.is_unsure))]
    is_done = not others and all(runs(v, goal) and not v.is_busy for v in begun)
    if attempt.phase is Phase.PROVING and not others and not any(v.is_busy for v in begun):
        # Nothing was loaded under the real name; what is left under the candidate's goes by and by.
        is_done = True
    open_attempt = None if is_done else replace(attempt, phase=Phase.RETURNING)
    ledger = replace(s.ledger, boot=goal)
    record = replace(s.record, attempt=open_attempt)
    return RolloutPlan(ledger, record, s.target, _steps_to(replace(s, ledger=ledger), goal, ours))


def _in_place(s: Situation, target: Revision) -> RolloutPlan:
    """Prove the target on one pod, on all others, load it under the real name, and commit."""
    ready, attempt = _ready(s), s.record.attempt
    if attempt is not None and attempt.phase is Phase.TRIAL:
        return _try_at_start(s, target, attempt)
    if not s.is_settled:
        # Pods of another template come and go: they start with what is proven, and the target is proven on those that stay.
        return _return(s, attempt) if attempt is not None else _rest(s)
    alive = [v for v in s.views if not is_ending(v.pod)]
    if attempt is not None and attempt.phase is Phase.SWITCHING:
        # Without a ready one it goes on all the same: what was sent to them may be loaded yet, or they may be dying of it.
        members = _still_there(attempt, alive)
        if members:
            return _switch(s, target, replace(attempt, pods=members))
    if not ready:
        return _without_ready(s, target, attempt)
    if attempt is None:
        attempt = _begin(s, target, Phase.PROVING)
    # One that is silent, or not ready, may be dying of the load: until that is known, no other pod follows it.
    return _prove(s, target, replace(attempt, phase=Phase.PROVING, pods=_still_there(attempt, alive)))


def _still_there(attempt: Attempt, views: Iterable[PodView]) -> tuple[str, ...]:
    there = {run_of(v.pod) for v in views}
    return tuple(run for run in attempt.pods if run in there)


def _prove(s: Situation, target: Revision, attempt: Attempt) -> RolloutPlan:
    """Under the candidate's name: where memory holds one copy, one pod is lost, and not all."""
    ready = _ready(s)
    if not attempt.pods:
        first = min(ready, key=lambda v: (not has_proved(v, target), v.loaded is None, v.pod["metadata"]["name"]))
        attempt = replace(attempt, pods=(run_of(first.pod),))
    members = [v for v in s.views if run_of(v.pod) in attempt.pods]
    if all(has_proved(v, target) for v in members):
        attempt = replace(attempt, pods=tuple(run_of(v.pod) for v in ready))
        members = ready
        if all(has_proved(v, target) and not v.is_busy for v in members):
            return _switch(s, target, replace(attempt, phase=Phase.SWITCHING))
    found = _steps_to(s, target, members)
    # Who has proven it waits for the others.
    steps = [(v, step) for v, step in found if step.kind is not StepKind.SWITCH]
    return _attempted(s, attempt, steps, members)


def _switch(s: Situation, target: Revision, attempt: Attempt) -> RolloutPlan:
    """Under the real name, on all members at once: the time in which pods answer from two revisions is short."""
    members = [v for v in s.views if run_of(v.pod) in attempt.pods]
    serving = [v for v in members if is_ready(v.pod)]
    if serving and all(runs(v, target) for v in serving):
        return _commit(s, target, slot=s.ledger.slot)
    return _attempted(s, attempt, _steps_to(s, target, members), members)


def _attempted(s: Situation, attempt: Attempt, steps: Sequence[PodStep], members: Sequence[PodView]) -> RolloutPlan:
    """Go on with an attempt; pods that are none of its members run what is proven meanwhile."""
    goal = s.ledger.proven
    others = [v for v in s.views if v not in members]
    rest = _steps_to(s, goal, others) if goal is not None else ()
    return RolloutPlan(s.ledger, replace(s.record, attempt=attempt), s.target, (*steps, *rest))


def _without_ready(s: Situation, target: Revision, attempt: Attempt | None) -> RolloutPlan:
    """No pod could prove anything. Where what is proven does not start either, pods start with the target; else they are waited for."""
    proven = s.ledger.proven
    alive = [v for v in s.views if not is_ending(v.pod)]
    is_stuck = proven is not None and bool(alive) and all(_fails_to_start(v, proven) for v in alive)
    if attempt is None and is_stuck:
        begun = {str(v.pod["metadata"]["uid"]): restarts(v.pod) for v in alive}
        return _try_at_start(s, target, replace(_begin(s, target, Phase.TRIAL), restarts=begun))
    if attempt is not None:
        return _attempted(s, replace(attempt, phase=Phase.PROVING), (), ())
    return _rest(s)


def _fails_to_start(view: PodView, proven: Revision, *, ends: int = 0) -> bool:
    """Tell whether a pod does not start with what is proven: it embeds otherwise, or has ended so often."""
    loaded = view.loaded
    has_ended = is_crashing(view.pod) and restarts(view.pod) >= ends
    if loaded is None or not loaded.is_wrong:
        return has_ended
    # One that was withdrawn says no more what was wrong: then it has failed to come back.
    is_withdrawn = not loaded.config_id and any(revision == proven.id for _, revision in view.waits)
    return has_ended or is_withdrawn or loaded.config_id == proven.config_ids.get(view.profile)


def _try_at_start(s: Situation, target: Revision, attempt: Attempt) -> RolloutPlan:
    """Have pods start with the target; what is proven comes back where that fails too, or where it starts after all.

    Not before every pod has ended twice since no pod was ready: an end before that may be of a load of ours, and what is proven starts again.
    """
    ready, proven = _ready(s), s.ledger.proven
    if ready and all(runs(v, target) for v in ready):
        return _commit(s, target, slot=s.ledger.slot)
    if any(v.loaded is not None and not runs(v, target) for v in ready):
        return _return(s, attempt)
    alive = [v for v in s.views if not is_ending(v.pod)]
    is_begun = s.ledger.boot is not None and s.ledger.boot.id == target.id
    if proven is not None and not is_begun:
        ends = {uid: count + STARTS_BEFORE_TRIAL for uid, count in attempt.restarts.items()}
        is_begun = all(
            _fails_to_start(v, proven, ends=ends.get(v.pod["metadata"]["uid"], STARTS_BEFORE_TRIAL)) for v in alive
        )
    boot = target if is_begun or proven is None else proven
    ledger, record = replace(s.ledger, boot=boot), replace(s.record, attempt=attempt)
    return RolloutPlan(ledger, record, s.target, _steps_to(replace(s, ledger=ledger), boot, s.views))


def _replace(s: Situation, target: Revision) -> RolloutPlan:
    """Replace pods by new ones that start with the target, from the files of the other slot."""
    attempt = s.record.attempt
    if attempt is None:
        if s.is_rolling or any(may_read(v.pod) and slot_of(v.pod) != s.ledger.slot for v in s.views):
            return _rest(s)
        slot = "" if s.ledger.slot else names.SLOT_B
        attempt = replace(_begin(s, target, Phase.REPLACING), slot=slot)
    if attempt.phase is not Phase.REPLACING:
        return _return(s, attempt)
    alive = [v for v in s.views if not is_ending(v.pod)]
    members = [v for v in alive if slot_of(v.pod) == attempt.slot]
    ready = [v for v in members if is_ready(v.pod)]
    if not s.is_rolling and ready and len(members) == len(alive) and all(runs(v, target) for v in ready):
        return _commit(s, target, slot=attempt.slot)
    trial = replace(s, ledger=replace(s.ledger, boot=target))
    return _attempted(s, attempt, _steps_to(trial, target, members), members)


def _with_recheck(s: Situation, plan: RolloutPlan) -> RolloutPlan:
    waits = [wait for v in s.views if is_running(v.pod) for wait in v.waits.values()]
    for failure in plan.record.failures:
        wait = left(failure, s.now)
        if wait is not None and failure.template == s.template and wait.total_seconds() > 0:
            waits.append(wait.total_seconds())
    return replace(plan, recheck_s=min(waits, default=None))
