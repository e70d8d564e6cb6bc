"""The next step of one pod towards a revision. It follows from what is observed of the pod, so that whatever was lost or killed before, this one comes next."""

from __future__ import annotations

from collections.abc import Sequence

from clipmodel_operator.assessment.pods import has_started, is_running
from clipmodel_operator.models.ledger import find_revision
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.step import Step, StepKind


def runs(view: PodView, revision: Revision) -> bool:
    """Tell whether a pod runs a revision, and gives its embeddings, and nothing that is under way can change that."""
    return not view.is_unsure and says_to_run(view, revision)


def says_to_run(view: PodView, revision: Revision) -> bool:
    """Tell whether a pod runs a revision now, and gives its embeddings."""
    loaded = view.loaded
    return (
        loaded is not None
        and loaded.difference is None
        and loaded.config_id == revision.config_ids.get(view.profile)
        and has_proved(view, revision)
    )


def has_proved(view: PodView, revision: Revision) -> bool:
    """Tell whether this run of a pod has proven a revision, under whichever name."""
    return revision.proof_of(view.profile) in view.proved


def next_step(view: PodView, goal: Revision, known: Sequence[Revision]) -> Step | None:
    """Give the next step towards `goal`; None where there is none, or it is not the time.

    `known`: revisions of which pods have the proof; what they start with comes first.
    """
    if not is_running(view.pod) or view.is_busy:
        return None
    step = _wanted_step(view, goal, known)
    return None if step is None or step.name in view.waits else step


def next_look(view: PodView) -> Step | None:
    """Give the look at a pod of which nothing is known; nothing else is done while a ClipModel is paused."""
    step = Step(StepKind.LOOK)
    must_wait = view.is_busy or step.name in view.waits
    return step if is_running(view.pod) and view.loaded is None and not must_wait else None


def next_withdrawal(view: PodView) -> Step | None:
    """Give the step by which a pod that embeds otherwise leaves the Service; None where it does not, or is in none."""
    step, loaded = Step(StepKind.WITHDRAW), view.loaded
    is_wrong = loaded is not None and loaded.is_wrong and bool(loaded.config_id)
    must_wait = view.is_busy or step.name in view.waits
    return step if is_running(view.pod) and has_started(view.pod) and is_wrong and not must_wait else None


def _wanted_step(view: PodView, goal: Revision, known: Sequence[Revision]) -> Step | None:
    """Give the next step, whenever that may be.

    A running server gets under the real name only what this run of it has proven. One that is still starting is in no Service, and its startup
    probe is the proof of whatever it runs.
    """
    loaded = view.loaded
    if loaded is None:
        return _look(known)
    if runs(view, goal):
        return Step(StepKind.CLEAR) if view.has_candidate else None
    if view.profile not in goal.configs:
        return None
    has_goal = loaded.config_id == goal.config_ids[view.profile]
    if not has_started(view.pod):
        return _next_while_starting(view, goal, known, has_goal=has_goal)
    if loaded.is_wrong and loaded.config_id:
        return Step(StepKind.WITHDRAW)
    if has_goal and not has_proved(view, goal):
        return Step(StepKind.VERIFY, goal)
    if has_proved(view, goal):
        return Step(StepKind.SWITCH, goal)
    return Step(StepKind.PROVE, goal, _new_versions(goal, known))


def _look(known: Sequence[Revision]) -> Step:
    """Of two revisions of one config, which differ in the tolerance, the one counts that the pod starts with."""
    return Step(StepKind.LOOK, next(iter(known), None))


def _new_versions(goal: Revision, known: Sequence[Revision]) -> tuple[int, ...]:
    """List the versions among several that no other revision has: any of them may be broken."""
    old = {digest for r in known if r.id != goal.id for digest in r.digests.values()}
    return tuple(v for v in goal.versions if goal.digests[v] not in old) if len(goal.versions) > 1 else ()


def _next_while_starting(view: PodView, goal: Revision, known: Sequence[Revision], *, has_goal: bool) -> Step | None:
    loaded = view.loaded
    if loaded is not None and has_goal and not view.is_unsure and loaded.difference is None:
        # It has proven the same config by another tolerance: to look again would be to look for ever, and at once.
        return Step(StepKind.VERIFY, goal)
    if loaded is None or (has_goal and not view.is_unsure):
        return _look(known)
    is_known = find_revision(known, profile=view.profile, config_id=loaded.config_id) is not None
    if is_known and not loaded.is_wrong and not view.is_unsure:
        # Mounted files lag: it starts with what was proven before, and is brought forward when it serves.
        return None
    return Step(StepKind.SWITCH, goal)
