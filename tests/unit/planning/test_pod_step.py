"""The next step of one pod: what is loaded under the real name of a running server was proven by it before, whatever was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from clipmodel_operator.models.observed import Loaded, PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.step import Step, StepKind
from clipmodel_operator.planning.pod_step import has_proved, next_look, next_step, runs, says_to_run
from clipmodel_operator.rendering.revision import build_revision, render_revision
from support.builders import SHA_1, SHA_2, SHA_OTHER, build_model, build_server_pod, build_spec

SHAS = {1: SHA_1, 2: SHA_2, 3: SHA_OTHER}


def revision(*versions: int, **fields: Any) -> Revision:
    return render_revision(build_model(build_spec(**fields)), {v: SHAS[v] for v in versions})


A, GOAL, OTHER = revision(1), revision(2), revision(3)
BOTH, ALL = revision(1, 2), revision(1, 2, 3)
#: The goal by another tolerance, and with other bytes under its number: the same config.
STRICT = revision(2, verification={"tolerance": "0.99999"})
OTHER_BYTES = build_revision(GOAL.configs, {2: SHA_OTHER}, min_cosine=GOAL.min_cosine)
CPU_ONLY = build_revision({"cpu": GOAL.configs["cpu"]}, GOAL.digests, min_cosine=GOAL.min_cosine)
WRONG = "cosine 0.5"
#: It compares with what the pod starts with, where two revisions have one config.
LOOK = Step(StepKind.LOOK, A)
WITHDRAW, CLEAR = Step(StepKind.WITHDRAW), Step(StepKind.CLEAR)
VERIFY, SWITCH, PROVE = (Step(kind, GOAL) for kind in (StepKind.VERIFY, StepKind.SWITCH, StepKind.PROVE))


def pod(
    loads: Revision | None = None,
    *,
    proved: Sequence[Revision] = (),
    difference: str | None = None,
    is_compared: bool = True,
    profile: str = "cpu",
    **fields: Any,
) -> PodView:
    """Build a ready pod; without `loads`, one of which nothing is known."""
    known = {k: fields.pop(k) for k in ("is_ready", "is_running", "is_ending") if k in fields}
    started = fields.pop("started", None)
    built = build_server_pod(profile=profile, **known)
    if started is not None:
        built["status"]["containerStatuses"][0]["started"] = started
    loaded = Loaded(loads.config_ids[profile], loads.versions, difference, is_compared) if loads is not None else None
    return PodView(built, profile, loaded, proved=frozenset(r.proof_of(profile) for r in proved), **fields)


def starting(loads: Revision | None = None, **fields: Any) -> PodView:
    return pod(loads, is_ready=False, **fields)


UNLOADED = PodView(build_server_pod(is_ready=False), "cpu", Loaded("", (), "the model is not loaded"))


@dataclass(frozen=True)
class Case:
    view: PodView
    step: Step | None
    goal: Revision = GOAL
    known: Sequence[Revision] = (A, GOAL)


CASES = {
    # A pod that serves.
    "nothing is known of it": Case(pod(), LOOK),
    "it runs the goal": Case(pod(GOAL, proved=[GOAL]), None),
    "it runs the goal, and a candidate is left": Case(pod(GOAL, proved=[GOAL], has_candidate=True), CLEAR),
    "it runs another, and has not proven the goal": Case(pod(A, proved=[A]), PROVE),
    "it runs another, and has proven the goal": Case(pod(A, proved=[A, GOAL]), SWITCH),
    "it runs another, and has proven the goal under the candidate's name, which is there yet": Case(pod(A, proved=[GOAL], has_candidate=True), SWITCH),
    "it runs the goal, and an answer is lost: it may run something else in a moment": Case(pod(GOAL, proved=[GOAL], is_unsure=True), SWITCH),
    "it runs the goal's config by another tolerance": Case(pod(STRICT, proved=[STRICT]), VERIFY),
    "it runs the goal's config of other bytes": Case(pod(OTHER_BYTES, proved=[OTHER_BYTES]), VERIFY),
    "it runs the goal, and embeds otherwise: it leaves the Service": Case(pod(GOAL, difference=WRONG), WITHDRAW),
    "it runs another, and embeds otherwise: it leaves the Service": Case(pod(A, proved=[A, GOAL], difference=WRONG), WITHDRAW),
    "it runs what nothing is known of": Case(pod(OTHER, difference="no proof is known", is_compared=False), PROVE),
    "nothing is known of it, nor of any revision": Case(pod(), Step(StepKind.LOOK), known=()),
    "it has left the Service, and has not proven the goal": Case(pod(started=True, is_ready=False), LOOK),
    "of another profile the goal has no config": Case(pod(A, profile="gpu"), None, goal=CPU_ONLY),
    "of another profile the goal has no config, and nothing is known of it": Case(pod(profile="gpu"), LOOK, goal=CPU_ONLY),
    "it is of another profile": Case(pod(GOAL, profile="gpu", proved=[GOAL]), None),
    "it does not run": Case(pod(is_running=False, is_ready=False), None),
    "it ends": Case(pod(A, is_ending=True), None),
    "a step is under way": Case(pod(A, is_busy=True), None),
    "that step failed a moment ago": Case(pod(A, waits={PROVE.name: 5.0}), None),
    "another step failed a moment ago": Case(pod(A, waits={("Prove", OTHER.id): 5.0, LOOK.name: 5.0}), PROVE),
    # New versions of several are proven alone first.
    "one of two is new": Case(pod(A, proved=[A]), Step(StepKind.PROVE, BOTH, (2,)), goal=BOTH, known=(A, BOTH)),
    "two of three are new": Case(pod(A, proved=[A]), Step(StepKind.PROVE, ALL, (2, 3)), goal=ALL, known=(A, ALL)),
    "none of two is new": Case(pod(A, proved=[A]), Step(StepKind.PROVE, BOTH), goal=BOTH, known=(A, GOAL, BOTH)),
    "all are new": Case(pod(OTHER), Step(StepKind.PROVE, BOTH, (1, 2)), goal=BOTH, known=(BOTH,)),
    "the only one is new: it is alone": Case(pod(A, proved=[A]), PROVE, known=(A, GOAL)),
    # A pod that starts.
    "it starts, and nothing is known of it": Case(starting(), LOOK),
    "it starts with the goal, and has proven its config by another tolerance": Case(starting(GOAL), VERIFY),
    "it starts with the goal, and embeds otherwise: its probe fails, and that is waited for": Case(starting(GOAL, difference=WRONG), LOOK),
    "it starts with the goal, and an answer is lost": Case(starting(GOAL, is_unsure=True), SWITCH),
    "it starts with what was proven before: mounted files lag": Case(starting(A), None),
    "it starts with what was proven before, and embeds otherwise": Case(starting(A, difference=WRONG), SWITCH),
    "it starts with what was proven before, and an answer is lost": Case(starting(A, is_unsure=True), SWITCH),
    "it starts with what nobody knows": Case(starting(OTHER), SWITCH),
    "its startup probe has passed: it is proven first": Case(starting(OTHER, started=True), PROVE),
    "it has nothing loaded, and its startup probe has not passed": Case(UNLOADED, SWITCH),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_next_step_when(name: str) -> None:
    case = CASES[name]
    assert next_step(case.view, case.goal, case.known) == case.step


def test_what_was_unloaded_comes_back_proven() -> None:
    """It must not be withdrawn over and over: there is nothing to withdraw."""
    container = build_server_pod(is_ready=False)
    container["status"]["containerStatuses"][0]["started"] = True
    loaded = Loaded("", (), "the model is not loaded")
    view = PodView(container, "cpu", loaded)
    assert next_step(view, GOAL, (A, GOAL)) == PROVE
    assert next_step(PodView(container, "cpu", loaded, proved=frozenset({GOAL.proof_of("cpu")})), GOAL, ()) == SWITCH


RUNS: dict[str, tuple[PodView, bool, bool]] = {
    "it runs it": (pod(GOAL, proved=[GOAL]), True, True),
    "a load may be under way": (pod(GOAL, proved=[GOAL], is_unsure=True), False, True),
    "it has not proven it": (pod(GOAL), False, False),
    "it has proven it by another tolerance": (pod(STRICT, proved=[STRICT]), False, False),
    "it has proven other bytes": (pod(OTHER_BYTES, proved=[OTHER_BYTES]), False, False),
    "it embeds otherwise by now": (pod(GOAL, proved=[GOAL], difference=WRONG), False, False),
    "it runs another": (pod(A, proved=[GOAL]), False, False),
    "nothing is known": (pod(proved=[GOAL]), False, False),
}


@pytest.mark.parametrize("name", RUNS)
def test_whether_it_runs_a_revision_when(name: str) -> None:
    view, does, says = RUNS[name]
    assert (runs(view, GOAL), says_to_run(view, GOAL)) == (does, says)


def test_a_proof_is_of_the_profile_that_a_pod_reads() -> None:
    assert has_proved(pod(A, profile="gpu", proved=[GOAL]), GOAL)
    swapped = PodView(build_server_pod(profile="gpu"), "gpu", None, proved=frozenset({GOAL.proof_of("cpu")}))
    assert not has_proved(swapped, GOAL)


LOOKS: dict[str, tuple[PodView, Step | None]] = {
    "nothing is known": (pod(), Step(StepKind.LOOK)),
    "something is known, whatever": (pod(A, difference=WRONG), None),
    "a step is under way": (pod(is_busy=True), None),
    "it was looked at a moment ago": (pod(waits={Step(StepKind.LOOK).name: 5.0}), None),
    "another step waits": (pod(waits={PROVE.name: 5.0}), Step(StepKind.LOOK)),
    "it does not run": (pod(is_running=False, is_ready=False), None),
}


@pytest.mark.parametrize("name", LOOKS)
def test_whether_it_is_looked_at_while_it_is_paused(name: str) -> None:
    view, step = LOOKS[name]
    assert next_look(view) == step
