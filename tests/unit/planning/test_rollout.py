"""What is committed, attempted and done next on every pod: one row for each situation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from clipmodel_operator.assessment.pods import run_of
from clipmodel_operator.models import reasons
from clipmodel_operator.models.attempt import Attempt, FailedAttempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Loaded, Outcome, PodView, Verdict
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.step import Step, StepKind
from clipmodel_operator.planning.failures import make_failure
from clipmodel_operator.planning.rollout import may_load, plan_rollout
from clipmodel_operator.planning.situation import RolloutPlan, Situation
from clipmodel_operator.rendering.revision import build_revision, render_revision
from support.builders import NOW, SHA_1, SHA_2, SHA_OTHER, Object, build_model, build_server_pod, build_spec

SHAS = {1: SHA_1, 2: SHA_2, 3: SHA_OTHER}


def revision(*versions: int, **fields: Any) -> Revision:
    return render_revision(build_model(build_spec(**fields)), {v: SHAS[v] for v in versions})


#: What is proven in most rows, and what is asked for.
A, B = revision(1), revision(2)
BOTH = revision(1, 2)
#: A's version by another config; and A itself by another tolerance.
FAST, STRICT = revision(1, batching={"maxQueueDelay": "1ms"}), revision(1, verification={"tolerance": "0.99999"})
OLD = revision(3)
CPU_ONLY = build_revision({"cpu": A.configs["cpu"]}, A.digests, min_cosine=A.min_cosine)
NAMES = {r.id: n for n, r in (("A", A), ("B", B), ("BOTH", BOTH), ("FAST", FAST), ("STRICT", STRICT), ("OLD", OLD))}
COSINE = "version 2, golden image 0: cosine 0.5"
ONE_COPY = "raise the limit. The weights are 335 MiB a copy."


def triton(
    *, restarts: int = 0, end: Mapping[str, Any] | None = None, state: Mapping[str, Any] | None = None, run: int = 0
) -> Object:
    """Build the status of Triton's container; `end`: how it ended last."""
    return {
        "name": "triton",
        "containerID": f"containerd://{run}",
        "restartCount": restarts,
        "state": dict(state or {"running": {}}),
        **({"lastState": {"terminated": dict(end)}} if end is not None else {}),
    }


def pod(
    *revisions: Revision,
    name: str = "clip-0",
    runs: Revision | None = None,
    asked: bool = True,
    difference: str | None = None,
    slot: str = "",
    started: bool = False,
    container: Object | None = None,
    profile: str = "cpu",
    is_ready: bool = True,
    is_ending: bool = False,
    is_running: bool = True,
    **of_view: Any,
) -> PodView:
    """Build a pod that runs the first of the revisions, unless another is named, and that has proven all of them."""
    built = build_server_pod(name, profile=profile, is_ready=is_ready, is_ending=is_ending, is_running=is_running)
    if container is not None:
        built["status"]["containerStatuses"] = [container]
    built["status"]["containerStatuses"][0] |= {"started": started} if started else {}
    config_map = f"clip-config{'-' + slot if slot else ''}"
    built["spec"]["volumes"] = [{"name": "config", "configMap": {"name": config_map}}]
    loads = runs or next(iter(revisions), None)
    loaded = Loaded(loads.config_ids[profile], loads.versions, difference) if loads is not None and asked else None
    proved = frozenset(r.proof_of(profile) for r in revisions if difference is None or r is not loads)
    return PodView(built, profile, loaded, proved=proved, **of_view)


def starting(*revisions: Revision, name: str = "clip-0", **fields: Any) -> PodView:
    return pod(*revisions, name=name, is_ready=False, **fields)


def crashing(name: str = "clip-0", restarts: int = 2, end: Mapping[str, Any] | None = None, **fields: Any) -> PodView:
    """Build a pod in CrashLoopBackOff."""
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    container = triton(restarts=restarts, end=end or {"exitCode": 1, "message": "one\nlast line\n"}, state=state)
    return starting(name=name, container=container, **fields)


def restarted(*, end: Mapping[str, Any], name: str = "clip-0", **fields: Any) -> PodView:
    """Build a pod whose container ended, and runs again."""
    return starting(A, name=name, container=triton(restarts=1, end=end, run=1), **fields)


def verdict(outcome: Outcome, message: str = "no", of: Revision = B, version: int | None = None) -> Verdict:
    return Verdict(of.id, outcome, message, version)


OOM = {"reason": "OOMKilled", "exitCode": 137}
EXIT = {"reason": "Error", "exitCode": 139}


def run(name: str = "clip-0", container: str | None = None) -> str:
    return f"uid-{name}/{container or 'containerd://' + name}"


def attempt(phase: Phase, *pods: str, of: Revision = B, tries: int = 1, slot: str = "") -> RolloutRecord:
    if phase is TRIAL:
        counts = {uid: int(count) for uid, count in (p.rsplit("/", 1) for p in pods)}
        return RolloutRecord(Attempt(of, phase, tries, restarts=counts))
    return RolloutRecord(Attempt(of, phase, tries, pods, slot))


def failed(
    reason: str = reasons.SERVER_REJECTED, *, of: Revision = B, before: RolloutRecord | None = None
) -> RolloutRecord:
    """Build what is remembered of a failure a moment ago."""
    failure = make_failure(
        before or RolloutRecord(), of, template="t", reason=reason, message="no", version=None, now=NOW
    )
    return RolloutRecord(failures=(failure,))


PROVING, SWITCHING, RETURNING = Phase.PROVING, Phase.SWITCHING, Phase.RETURNING
TRIAL, REPLACING = Phase.TRIAL, Phase.REPLACING
PROVEN_A, NOTHING_TRIED = Ledger(A, A), RolloutRecord()


@dataclass(frozen=True)
class Case:
    """A situation; what is committed then, how far the attempt is, and what is done on pods."""

    pods: Sequence[PodView]
    boot: str | None = "A"
    proven: str | None = "A"
    phase: Phase | None = None
    steps: tuple[str, ...] = ()
    ledger: Ledger = PROVEN_A
    record: RolloutRecord = NOTHING_TRIED
    target: Revision | None = B
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the situation."""
    previous: str | None = None
    members: tuple[str, ...] | None = None
    """Runs of pods that the attempt is about."""
    failures: tuple[tuple[str, str], ...] = ()
    """Which revision failed, and of what; others than remembered before."""
    slot: str = ""


def situation(case: Case) -> Situation:
    fields: dict[str, Any] = {
        "template": "t",
        "is_settled": True,
        "is_rolling": False,
        "replaces": False,
        "recover": lambda _: None,
        "one_copy": ONE_COPY,
        "is_paused": False,
        "now": NOW,
        **case.fields,
    }
    return Situation(ledger=case.ledger, record=case.record, target=case.target, views=tuple(case.pods), **fields)


def named(revision: Revision | None) -> str | None:
    return NAMES[revision.id] if revision is not None else None


def written(view: PodView, step: Step) -> str:
    """Write a step: on which pod, what, to which revision, and which versions alone first. What a look compares with is in test_pod_step.py."""
    to = named(step.revision) if step.kind is not StepKind.LOOK else None
    parts = [view.pod["metadata"]["name"], step.kind.value, to or "", *map(str, step.alone)]
    return " ".join(p for p in parts if p)


LOST = Ledger()
NOTHING = Ledger(A)
PAUSED, UNSETTLED, ROLLING = {"is_paused": True}, {"is_settled": False}, {"is_settled": False, "is_rolling": True}
REPLACE = {"replaces": True}
B_SLOT = Ledger(A, A, slot="b")

CASES = {
    # At rest.
    "all run what is proven and asked for": Case([pod(A)], target=A),
    "nothing is asked for that could serve": Case([pod(A)], target=None),
    "a pod started with the files of before": Case([pod(A), pod(OLD, name="clip-1")], target=A, ledger=Ledger(A, A, OLD), previous="OLD", steps=("clip-1 Prove A",)),
    "that pod has proven it": Case([pod(A), pod(OLD, A, name="clip-1")], target=A, steps=("clip-1 Switch A",)),
    "a pod has not been asked": Case([pod(A, asked=False)], target=A, steps=("clip-0 Look",)),
    "a pod embeds otherwise: it leaves the Service": Case([pod(A, difference=COSINE)], target=A, steps=("clip-0 Withdraw",)),
    "something is left under the candidate's name": Case([pod(A, has_candidate=True)], target=A, steps=("clip-0 Clear",)),
    "what pods read at start was on trial, and the attempt is forgotten": Case([pod(A)], target=A, ledger=Ledger(B, A)),
    "of an attempt on what has been proven since nothing is left": Case([pod(A)], target=A, record=attempt(PROVING, run(), of=A)),
    # The first start: nothing is proven.
    "nothing can serve yet": Case([], None, None, ledger=LOST, target=None),
    "the first one is what pods start with": Case([], "B", None, ledger=LOST),
    "a pod starts with it": Case([starting(asked=False)], "B", None, ledger=Ledger(B), steps=("clip-0 Look",)),
    "a pod serves it": Case([pod(B)], "B", "B", ledger=Ledger(B)),
    "a pod serves it, and another starts": Case([pod(B), starting(asked=False, name="clip-1")], "B", "B", ledger=Ledger(B), steps=("clip-1 Look",)),
    "another one is asked for, and no pod is there": Case([], "B", None, ledger=NOTHING, previous="A"),
    "another one is asked for, and a pod starts that may serve yet": Case([starting(A)], "A", None, ledger=NOTHING),
    "another one is asked for, and the pod ends": Case([pod(A, is_ending=True)], "B", None, ledger=NOTHING, previous="A"),
    "another one is asked for, and the pod has failed once": Case([starting(A, container=triton(restarts=1))], "B", None, ledger=NOTHING, previous="A"),
    "another one is asked for, and the pod embeds otherwise": Case([starting(A, difference=COSINE)], "B", None, PROVING, ("clip-0 Switch B",), ledger=NOTHING, previous="A"),
    "another one is asked for, and a pod serves": Case([pod(A)], "A", "A", ledger=NOTHING),
    "a pod serves that has not been asked": Case([pod(runs=A, asked=False)], "A", None, PROVING, ("clip-0 Look",), ledger=NOTHING, target=A),
    "a pod serves what was asked for before": Case([pod(A)], "A", "A", ledger=Ledger(B, previous=A), previous="B"),
    "a pod that is starting is led to it, for there is no proof of what it read": Case([starting(OLD, name="clip-0"), starting(OLD, name="clip-1")], "B", None, PROVING, ("clip-0 Switch B",), ledger=Ledger(B), members=(run(),)),
    "one is led to it: the other waits": Case([starting(OLD, is_busy=True), starting(OLD, name="clip-1")], "B", None, PROVING, (), ledger=Ledger(B), record=attempt(PROVING, run()), members=(run(),)),
    "one was led to it: the next follows": Case([starting(B), starting(OLD, name="clip-1")], "B", None, PROVING, ("clip-1 Switch B",), ledger=Ledger(B), record=attempt(PROVING, run()), members=(run("clip-1"),)),
    "the one that was led to it is gone": Case([starting(OLD, name="clip-1")], "B", None, PROVING, ("clip-1 Switch B",), ledger=Ledger(B), record=attempt(PROVING, run()), members=(run("clip-1"),)),
    "what the first ones start with is refused": Case([starting(OLD, verdict=verdict(Outcome.REFUSED))], "B", None, ledger=Ledger(B), record=attempt(PROVING, run()), failures=(("B", reasons.SERVER_REJECTED),)),
    "what the first ones start with has failed: they are looked at alone": Case([starting(OLD), starting(asked=False, name="clip-1")], "B", None, None, ("clip-1 Look",), ledger=Ledger(B), record=failed()),
    "an attempt at another one is forgotten": Case([starting(A)], "A", None, ledger=NOTHING, target=A, record=attempt(PROVING, run())),
    # The ledger is lost, and pods serve.
    "what a pod runs is found out, and is proven by it": Case([pod(OLD)], "OLD", "OLD", ledger=LOST, fields={"recover": lambda _: OLD}),
    "what a pod runs is found out, whatever was to be started with": Case([pod(OLD)], "OLD", "OLD", ledger=Ledger(B), fields={"recover": lambda _: OLD}, previous="B"),
    "what a pod runs that is starting proves nothing": Case([starting(OLD)], "B", None, PROVING, ("clip-0 Switch B",), ledger=LOST, fields={"recover": lambda _: OLD}),
    "what pods run cannot be found out: they prove what is asked for": Case([pod(OLD), pod(OLD, name="clip-1")], "B", None, PROVING, ("clip-0 Prove B",), ledger=LOST, members=(run(),)),
    "they have proven it": Case([pod(OLD, B)], "B", None, SWITCHING, ("clip-0 Switch B",), ledger=LOST, members=(run(),)),
    "they have loaded it": Case([pod(B)], "B", "B", ledger=LOST, record=attempt(SWITCHING, run()), fields={}),
    "their template is another: they are brought to it as they come": Case([pod(OLD)], "B", None, None, ("clip-0 Prove B",), ledger=LOST, fields=UNSETTLED),
    "their template is another in the middle of it: given up": Case([pod(OLD)], "B", None, ledger=LOST, record=attempt(PROVING, run()), fields=UNSETTLED),
    # In place: one pod proves first.
    "another one is asked for: one pod proves it": Case([pod(A, name="clip-1"), pod(A)], phase=PROVING, steps=("clip-0 Prove B",), members=(run(),)),
    "one that has proven it already is the first": Case([pod(A), pod(A, B, name="clip-1")], phase=PROVING, steps=("clip-0 Prove B",), members=(run(), run("clip-1"))),
    "one that was asked is the first": Case([pod(A, asked=False), pod(A, name="clip-1")], phase=PROVING, steps=("clip-1 Prove B", "clip-0 Look"), members=(run("clip-1"),)),
    "it proves: the others wait": Case([pod(A, is_busy=True, has_candidate=True), pod(A, name="clip-1")], phase=PROVING, record=attempt(PROVING, run()), members=(run(),)),
    "the first one is silent: the others wait": Case([pod(A, asked=False), pod(A, name="clip-1")], phase=PROVING, record=attempt(PROVING, run()), steps=("clip-0 Look",), members=(run(),)),
    "the first one is not ready any more: the others wait": Case([starting(A, started=True), pod(A, name="clip-1")], phase=PROVING, record=attempt(PROVING, run()), steps=("clip-0 Prove B",), members=(run(),)),
    "the first one ends: another is the first": Case([pod(A, is_ending=True), pod(A, name="clip-1")], phase=PROVING, record=attempt(PROVING, run()), steps=("clip-1 Prove B",), members=(run("clip-1"),)),
    "the first one has proven it: all others follow at once": Case([pod(A, B), pod(A, name="clip-1"), pod(A, name="clip-2")], phase=PROVING, record=attempt(PROVING, run()), steps=("clip-1 Prove B", "clip-2 Prove B"), members=(run(), run("clip-1"), run("clip-2"))),
    "a new version among several is proven alone first": Case([pod(A)], phase=PROVING, target=BOTH, steps=("clip-0 Prove BOTH 2",)),
    "all but one have proven it": Case([pod(A, B), pod(A, name="clip-1")], phase=PROVING, record=attempt(PROVING, run(), run("clip-1")), steps=("clip-1 Prove B",)),
    "all have proven it, and on one a step is under way": Case([pod(A, B), pod(A, B, name="clip-1", is_busy=True)], phase=PROVING, record=attempt(PROVING, run(), run("clip-1")), steps=()),
    "all have proven it: they load it at once": Case([pod(A, B), pod(A, B, name="clip-1")], phase=SWITCHING, record=attempt(PROVING, run(), run("clip-1")), steps=("clip-0 Switch B", "clip-1 Switch B")),
    "the only one has proven it": Case([pod(A, B)], phase=SWITCHING, steps=("clip-0 Switch B",), members=(run(),)),
    "a pod starts meanwhile: with what is proven": Case([pod(A, B), starting(runs=A, name="clip-1")], phase=SWITCHING, record=attempt(PROVING, run()), steps=("clip-0 Switch B", "clip-1 Verify A"), members=(run(),)),
    # In place: under the real name.
    "one has loaded it and another not yet": Case([pod(B), pod(A, B, name="clip-1")], phase=SWITCHING, record=attempt(SWITCHING, run(), run("clip-1")), steps=("clip-1 Switch B",)),
    "all have loaded it": Case([pod(B), pod(B, name="clip-1")], "B", "B", record=attempt(SWITCHING, run(), run("clip-1")), previous="A"),
    "all have loaded it, and the answer of one is lost": Case([pod(B), pod(B, name="clip-1", is_unsure=True)], phase=SWITCHING, record=attempt(SWITCHING, run(), run("clip-1")), steps=("clip-1 Switch B",)),
    "a pod that came later is no member: it is brought to it after the commit": Case([pod(B), pod(A, name="clip-1")], "B", "B", record=attempt(SWITCHING, run()), previous="A", steps=("clip-1 Prove B",)),
    "a pod that came later runs what is proven meanwhile": Case([pod(A, B), pod(OLD, name="clip-1")], phase=SWITCHING, record=attempt(SWITCHING, run()), ledger=Ledger(A, A, OLD), previous="OLD", steps=("clip-0 Switch B", "clip-1 Prove A")),
    "a member ends: the others go on": Case([pod(B), pod(A, B, name="clip-1", is_ending=True)], "B", "B", record=attempt(SWITCHING, run(), run("clip-1")), previous="A"),
    "a member is not ready any more: the others go on": Case([pod(B), starting(A, B, name="clip-1", started=True)], "B", "B", record=attempt(SWITCHING, run(), run("clip-1")), previous="A", steps=("clip-1 Switch B",)),
    "no member is ready any more: a load may be under way, and is waited for": Case([starting(A, B, started=True, is_busy=True), pod(A, name="clip-1")], phase=SWITCHING, record=attempt(SWITCHING, run()), members=(run(),)),
    "no member is ready, nor any other pod": Case([starting(A, B, started=True, is_unsure=True)], phase=SWITCHING, record=attempt(SWITCHING, run()), steps=("clip-0 Switch B",), members=(run(),)),
    "no member is ready, and one has loaded it": Case([starting(B, started=True)], phase=SWITCHING, record=attempt(SWITCHING, run()), members=(run(),)),
    "all members are gone: what came since proves it": Case([pod(A, name="clip-9")], phase=PROVING, record=attempt(SWITCHING, run()), steps=("clip-9 Prove B",), members=(run("clip-9"),)),
    "a step that failed on a pod waits": Case([pod(A, waits={("Prove", B.id): 7.0})], phase=PROVING, steps=()),
    # By another tolerance.
    "the tolerance alone is another: nothing is loaded": Case([pod(A), pod(A, name="clip-1")], phase=PROVING, target=STRICT, steps=("clip-0 Verify STRICT",)),
    "all have been asked by the new tolerance": Case([pod(A, STRICT), pod(A, STRICT, name="clip-1")], "STRICT", "STRICT", None, target=STRICT, record=attempt(SWITCHING, run(), run("clip-1"), of=STRICT), previous="A"),
    # It fails.
    "Triton refuses it": Case([pod(A, verdict=verdict(Outcome.REFUSED))], record=attempt(PROVING, run()), failures=(("B", reasons.SERVER_REJECTED),)),
    "it embeds otherwise": Case([pod(A, verdict=verdict(Outcome.DIFFERS, COSINE))], record=attempt(PROVING, run()), failures=(("B", reasons.GOLDEN_CHECK_FAILED),)),
    "of the light image a process is killed": Case([pod(A, verdict=verdict(Outcome.REFUSED, "Stub process 'x' is not healthy."))], record=attempt(PROVING, run()), failures=(("B", reasons.SERVER_KILLED),)),
    "the answer is lost, and the pod answers again": Case([pod(A, verdict=verdict(Outcome.LOST))], record=attempt(PROVING, run()), failures=(("B", reasons.SERVER_SILENT),)),
    "the answer is lost, and the pod has not answered since": Case([pod(A, asked=False, verdict=verdict(Outcome.LOST))], phase=PROVING, record=attempt(PROVING, run()), steps=("clip-0 Look",)),
    "the answer to a load under the real name is lost: it is made again": Case([pod(A, B, is_unsure=True, verdict=verdict(Outcome.LOST))], phase=SWITCHING, record=attempt(SWITCHING, run()), steps=("clip-0 Switch B",)),
    "it is refused while the spec asks for another one already: it may ask for it again": Case([pod(A, verdict=verdict(Outcome.REFUSED))], target=FAST, record=attempt(PROVING, run()), failures=(("B", reasons.SERVER_REJECTED),)),
    "it is refused while others go back": Case([pod(B, A), pod(A, name="clip-1", verdict=verdict(Outcome.REFUSED))], phase=RETURNING, target=A, record=attempt(RETURNING), failures=(("B", reasons.SERVER_REJECTED),), steps=("clip-0 Switch A",)),
    "what came of a step to another one says nothing of this": Case([pod(A, verdict=verdict(Outcome.REFUSED, of=FAST))], phase=PROVING, record=attempt(PROVING, run()), steps=("clip-0 Prove B",)),
    "a container was killed for memory": Case([restarted(end=OOM)], record=attempt(PROVING, run()), failures=(("B", reasons.OUT_OF_MEMORY),)),
    "a container has ended, and is not started again yet": Case([starting(A, container=triton(state={"terminated": OOM}))], record=attempt(PROVING, run(container="containerd://0")), failures=(("B", reasons.OUT_OF_MEMORY),)),
    "a container ended, nobody says why": Case([restarted(end=EXIT)], record=attempt(PROVING, run()), failures=(("B", reasons.SERVER_KILLED),)),
    "a container was killed for memory while it loaded under the real name": Case([restarted(end=OOM)], record=attempt(SWITCHING, run()), failures=(("B", reasons.OUT_OF_MEMORY),)),
    "a container ended while it loaded under the real name, nobody says why": Case([pod(B, A), restarted(end=EXIT, name="clip-1")], phase=RETURNING, record=attempt(SWITCHING, run(), run("clip-1")), failures=(("B", reasons.SERVER_KILLED),), steps=("clip-0 Switch A",)),
    "a container of a pod ended that is no member": Case([pod(A, is_busy=True), restarted(end=EXIT, name="clip-1")], phase=PROVING, record=attempt(PROVING, run())),
    "a member that ended long ago, and has run since": Case([pod(A, is_busy=True, container=triton(restarts=1, end=OOM, run=1))], phase=PROVING, record=attempt(PROVING, run(container="containerd://1"))),
    "a pod that is deleted is not killed by it": Case([pod(A, is_ending=True, container=triton(end=OOM, run=1)), pod(A, name="clip-1", is_busy=True)], phase=PROVING, record=attempt(PROVING, run(), run("clip-1"))),
    "one refuses what others run: all go back": Case([pod(B, A), pod(A, name="clip-1", verdict=verdict(Outcome.REFUSED))], phase=RETURNING, record=attempt(SWITCHING, run(), run("clip-1")), failures=(("B", reasons.SERVER_REJECTED),), steps=("clip-0 Switch A",)),
    # It has failed.
    "it has failed, and waits": Case([pod(A)], record=failed()),
    "it has failed for good": Case([pod(A)], record=failed(reasons.GOLDEN_CHECK_FAILED)),
    "it has failed, and has waited": Case([pod(A)], phase=PROVING, record=failed(), fields={"now": NOW + timedelta(seconds=60)}, steps=("clip-0 Prove B",)),
    "it has failed on pods of another template": Case([pod(A)], phase=PROVING, record=failed(), fields={"template": "other"}, steps=("clip-0 Prove B",)),
    "another one has failed": Case([pod(A)], phase=PROVING, record=failed(of=FAST), steps=("clip-0 Prove B",)),
    # Back to what is proven.
    "the spec asks for what is proven again: what was loaded goes back": Case([pod(B, A)], phase=RETURNING, target=A, record=attempt(SWITCHING, run()), steps=("clip-0 Switch A",)),
    "the spec asks for a third one: first back": Case([pod(B, A)], phase=RETURNING, target=FAST, record=attempt(SWITCHING, run()), steps=("clip-0 Switch A",)),
    "the spec asks for nothing that could serve: back": Case([pod(B, A)], phase=RETURNING, target=None, record=attempt(SWITCHING, run()), steps=("clip-0 Switch A",)),
    "nothing was loaded under the real name: at once": Case([pod(A, has_candidate=True)], target=A, record=attempt(PROVING, run()), steps=("clip-0 Clear",)),
    "nothing was loaded under the real name: whatever a pod says that was not asked": Case([pod(A), pod(A, name="clip-1", asked=False)], target=A, record=attempt(PROVING, run()), steps=("clip-1 Look",)),
    "a proof is under way yet: it is waited for": Case([pod(A, is_busy=True)], phase=RETURNING, target=A, record=attempt(PROVING, run())),
    "all are back": Case([pod(A)], target=A, record=attempt(RETURNING, run())),
    "all are back, and on one a step is under way": Case([pod(A), pod(A, name="clip-1", is_busy=True)], phase=RETURNING, target=A, record=attempt(RETURNING, run())),
    "all say that they are back, and an answer is lost": Case([pod(A, is_unsure=True)], phase=RETURNING, target=A, record=attempt(RETURNING, run()), steps=("clip-0 Switch A",)),
    "one that has not been asked may run it": Case([pod(A), pod(A, name="clip-1", asked=False)], phase=RETURNING, target=A, record=attempt(RETURNING, run()), steps=("clip-1 Look",)),
    "one that was withdrawn holds up nobody": Case([pod(A), starting(OLD, name="clip-1", started=True, difference=COSINE)], target=A, record=attempt(RETURNING, run()), steps=("clip-1 Withdraw",)),
    "one that was withdrawn and whose answer is lost does": Case([pod(A), starting(A, name="clip-1", started=True, is_unsure=True)], phase=RETURNING, target=A, record=attempt(RETURNING, run()), steps=("clip-1 Switch A",)),
    "it has failed on the pods that are to come: back": Case([pod(B, A)], phase=RETURNING, record=replace(failed(), attempt=Attempt(B, SWITCHING, 1, (run(),))), steps=("clip-0 Switch A",)),
    "one that is starting does not": Case([pod(A), starting(A, name="clip-1", is_unsure=True)], target=A, record=attempt(RETURNING, run()), steps=("clip-1 Switch A",)),
    "one that ends does not": Case([pod(A), pod(B, name="clip-1", is_ending=True)], target=A, record=attempt(RETURNING, run())),
    "one whose container is down does not": Case([pod(A), starting(name="clip-1", is_running=False)], target=A, record=attempt(RETURNING, run())),
    "what is asked for is not begun while others go back": Case([pod(B, A)], phase=RETURNING, target=B, record=attempt(RETURNING, run()), steps=("clip-0 Switch A",)),
    "what started with a trial goes back": Case([pod(B, A)], phase=RETURNING, target=A, ledger=Ledger(B, A), record=attempt(TRIAL), steps=("clip-0 Switch A",)),
    # No pod is ready.
    "there is no pod: nothing is committed": Case([]),
    "a pod is starting: with what is proven": Case([starting(runs=A)], steps=("clip-0 Verify A",)),
    "a pod has no node": Case([starting(is_running=False)]),
    "the pods of an attempt are gone: it is begun again when there are others": Case([starting(A)], phase=PROVING, record=attempt(SWITCHING, run("clip-7"))),
    # A trial: what is proven does not start.
    "what is proven does not start: it is given two more starts": Case([crashing(restarts=2)], "A", phase=TRIAL),
    "it has had two more starts": Case([crashing(restarts=4)], "B", phase=TRIAL, record=attempt(TRIAL, "uid-clip-0/2")),
    "it has had one": Case([crashing(restarts=3)], "A", phase=TRIAL, record=attempt(TRIAL, "uid-clip-0/2")),
    "what is proven starts and embeds otherwise": Case([starting(A, difference=COSINE)], "B", phase=TRIAL, steps=("clip-0 Switch B",)),
    "what embeds otherwise is of something else than what is proven": Case([starting(OLD, difference=COSINE)], steps=("clip-0 Switch A",)),
    "one does not start and another may": Case([crashing(), starting(A, name="clip-1")]),
    "one does not start and another ends": Case([crashing(restarts=4), starting(A, name="clip-1", is_ending=True)], "B", phase=TRIAL, record=attempt(TRIAL, "uid-clip-0/2")),
    "it is on trial": Case([starting(asked=False)], "B", phase=TRIAL, ledger=Ledger(B, A), record=attempt(TRIAL, "uid-clip-0/2"), steps=("clip-0 Look",)),
    "on trial it serves": Case([pod(B)], "B", "B", ledger=Ledger(B, A), record=attempt(TRIAL, "uid-clip-0/2"), previous="A"),
    "on trial it serves on one and another is asked yet": Case([pod(B), pod(B, name="clip-1", asked=False)], "B", phase=TRIAL, ledger=Ledger(B, A), record=attempt(TRIAL), steps=("clip-1 Look",)),
    "what is proven serves after all": Case([pod(A)], "A", phase=None, ledger=Ledger(B, A), record=attempt(TRIAL)),
    "what is proven serves after all, on one of two": Case([pod(A), pod(B, A, name="clip-1")], "A", phase=RETURNING, ledger=Ledger(B, A), record=attempt(TRIAL), steps=("clip-1 Switch A",)),
    "on trial it crashes: the files may be those of before": Case([crashing(restarts=7)], "B", phase=TRIAL, ledger=Ledger(B, A), record=attempt(TRIAL, "uid-clip-0/2")),
    "on trial it crashes again and again": Case([crashing(restarts=8)], "A", phase=None, ledger=Ledger(B, A), record=attempt(TRIAL, "uid-clip-0/2"), failures=(("B", reasons.SERVER_FAILED),)),
    "on trial a new pod crashes again and again": Case([crashing(restarts=6)], "A", phase=None, ledger=Ledger(B, A), record=attempt(TRIAL, "uid-clip-7/2"), failures=(("B", reasons.SERVER_FAILED),)),
    "on trial it embeds otherwise": Case([starting(B, difference=COSINE)], "A", phase=None, ledger=Ledger(B, A), record=attempt(TRIAL, "uid-clip-0/2"), failures=(("B", reasons.GOLDEN_CHECK_FAILED),), steps=("clip-0 Switch A",)),
    # Pods of another template come and go.
    "pods are being replaced: it waits": Case([pod(A)], fields=UNSETTLED),
    "pods are being replaced: those that start get what is proven": Case([pod(OLD)], ledger=Ledger(A, A, OLD), previous="OLD", fields=UNSETTLED, steps=("clip-0 Prove A",)),
    "pods are replaced in the middle of it: back": Case([pod(B, A)], phase=RETURNING, record=attempt(SWITCHING, run()), fields=UNSETTLED, steps=("clip-0 Switch A",)),
    "a trial goes on though pods are replaced": Case([starting(asked=False)], "B", phase=TRIAL, ledger=Ledger(B, A), record=attempt(TRIAL), fields=UNSETTLED, steps=("clip-0 Look",)),
    # Paused.
    "it is paused: pods are looked at alone": Case([pod(A), pod(A, name="clip-1", asked=False)], record=attempt(PROVING, run()), phase=PROVING, fields=PAUSED, steps=("clip-1 Look",)),
    "it is paused before anything serves": Case([], None, None, ledger=LOST, fields=PAUSED),
    "it is paused, and what is asked for serves": Case([pod(B)], "A", "A", SWITCHING, record=attempt(SWITCHING, run()), fields=PAUSED),
    # By new pods.
    "by new pods: the other slot": Case([pod(A)], phase=REPLACING, fields=REPLACE, slot="b"),
    "by new pods: back to the first slot": Case([pod(A, slot="b")], phase=REPLACING, ledger=B_SLOT, fields=REPLACE, slot=""),
    "by new pods: pods read the other slot yet": Case([pod(A), pod(OLD, name="clip-1", slot="b", is_ending=True)], fields=REPLACE),
    "by new pods: pods are being replaced": Case([pod(A)], fields={**REPLACE, **ROLLING}),
    "by new pods: it waits until what was tried in place is undone": Case([pod(B, A)], phase=RETURNING, record=attempt(SWITCHING, run()), fields=REPLACE, steps=("clip-0 Switch A",)),
    "by new pods: it has failed": Case([pod(A)], record=failed(), fields=REPLACE),
    "a new pod starts": Case([pod(A), starting(asked=False, name="clip-1", slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, steps=("clip-1 Look",), slot="b"),
    "a new pod started with files of before": Case([pod(A), pod(OLD, name="clip-1", slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, steps=("clip-1 Prove B",), slot="b"),
    "a new pod serves, and an old one is there": Case([pod(A), pod(B, name="clip-1", slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, slot="b"),
    "all are new and serve, and the Deployment is not done": Case([pod(B, slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, slot="b"),
    "an old one is there yet, whatever the Deployment says": Case([pod(A), pod(B, name="clip-1", slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields=REPLACE, slot="b"),
    "all are new and serve": Case([pod(B, slot="b")], "B", "B", record=attempt(REPLACING, slot="b"), fields=REPLACE, previous="A", slot="b"),
    "all are new and serve, and the last old one ends": Case([pod(A, is_ending=True), pod(B, name="clip-1", slot="b")], "B", "B", record=attempt(REPLACING, slot="b"), fields=REPLACE, previous="A", slot="b"),
    "no new pod is ready": Case([starting(B, slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields=REPLACE, slot="b"),
    "it goes on by new pods though the strategy says otherwise by now": Case([pod(B, slot="b")], "B", "B", record=attempt(REPLACING, slot="b"), previous="A", slot="b"),
    "a new pod ends: back at once": Case([pod(A), starting(name="clip-1", slot="b", container=triton(restarts=1, end=EXIT))], phase=RETURNING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, failures=(("B", reasons.SERVER_FAILED),)),
    "a new pod is killed for memory": Case([pod(A), starting(name="clip-1", slot="b", container=triton(restarts=1, end=OOM))], phase=RETURNING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, failures=(("B", reasons.OUT_OF_MEMORY),)),
    "a new pod embeds otherwise": Case([pod(A), starting(B, difference=COSINE, name="clip-1", slot="b")], phase=RETURNING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, failures=(("B", reasons.GOLDEN_CHECK_FAILED),)),
    "an old pod ends: that is none of its doing": Case([pod(A, container=triton(restarts=1, end=OOM)), starting(asked=False, name="clip-1", slot="b")], phase=REPLACING, record=attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}, slot="b", steps=("clip-1 Look",)),
    "new pods are there yet: it is not over": Case([pod(A), pod(B, name="clip-1", slot="b")], phase=RETURNING, target=A, record=attempt(RETURNING, slot="b"), fields=ROLLING),
    "new pods are gone": Case([pod(A), pod(B, name="clip-1", slot="b", is_ending=True)], target=A, record=attempt(RETURNING, slot="b")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_follows_when(name: str) -> None:
    case = CASES[name]
    plan = plan_rollout(situation(case))
    ledger, record = plan.ledger, plan.record
    assert (named(ledger.boot), named(ledger.proven)) == (case.boot, case.proven)
    assert plan.phase == case.phase
    assert tuple(written(view, step) for view, step in plan.steps) == case.steps
    assert named(ledger.previous) == case.previous
    assert plan.slot == case.slot
    if case.members is not None:
        assert record.attempt is not None
        assert record.attempt.pods == case.members
    new = [f for f in record.failures if f not in case.record.failures]
    assert tuple((NAMES[f.revision], f.reason) for f in new) == case.failures


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_its_own_sequel_until_the_world_changes(name: str) -> None:
    """What has been written down must not look like news to the next pass: verdicts are noted once."""
    case = CASES[name]
    first = plan_rollout(situation(case))
    noted = [replace(v, verdict=None) for v in case.pods]
    plan = first
    for _ in range(3):  # a moved boot, a fixed set: each settles within a pass
        plan = plan_rollout(situation(replace(case, pods=noted, ledger=plan.ledger, record=plan.record)))
    again = plan_rollout(situation(replace(case, pods=noted, ledger=plan.ledger, record=plan.record)))
    assert (again.ledger, again.record) == (plan.ledger, plan.record)


@pytest.mark.parametrize("name", CASES)
def test_nothing_unproven_is_loaded_on_a_pod_that_has_started(name: str) -> None:
    case = CASES[name]
    for view, step in plan_rollout(situation(case)).steps:
        if step.kind is StepKind.SWITCH and step.revision is not None and case.steps:
            is_starting = not (view.pod["status"]["containerStatuses"][0].get("started") or _is_ready(view))
            assert is_starting or step.revision.proof_of(view.profile) in view.proved


def _is_ready(view: PodView) -> bool:
    return any(c == {"type": "Ready", "status": "True"} for c in view.pod["status"]["conditions"])


# Failures, and when it is tried again.


def plan(pods: Sequence[PodView], record: RolloutRecord, **fields: Any) -> RolloutPlan:
    return plan_rollout(situation(Case(pods, record=record, **fields)))


def only_failure(plan: RolloutPlan) -> FailedAttempt:
    (failure,) = plan.record.failures
    return failure


def test_a_failure_says_what_when_and_how_often() -> None:
    refused = pod(A, verdict=verdict(Outcome.REFUSED, "no such opset", version=2))
    failure = only_failure(plan([refused], attempt(PROVING, run())))
    assert failure.message == "Triton cannot load it: no such opset"
    assert (failure.version, failure.sha256) == (2, SHA_2)
    assert (failure.tries, failure.not_before) == (1, NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("target", "version", "due_to"),
    [
        pytest.param(B, None, 2, id="the only new one"),
        pytest.param(BOTH, 2, 2, id="as the server says"),
        pytest.param(BOTH, 1, 1, id="as the server says, also of one that serves by other settings"),
        pytest.param(FAST, None, None, id="no version is new"),
        pytest.param(
            revision(2, batching={"maxQueueDelay": "1ms"}),
            None,
            2,
            id="the settings are new as well: what is left without it tells",
        ),
        pytest.param(
            revision(1, 2, batching={"maxQueueDelay": "1ms"}),
            None,
            None,
            id="the settings are new as well, and others are in it",
        ),
        pytest.param(revision(2, 3), None, None, id="two are new"),
    ],
)
def test_to_which_version_a_failure_is_due(target: Revision, version: int | None, due_to: int | None) -> None:
    refused = pod(A, verdict=verdict(Outcome.REFUSED, of=target, version=version))
    found = only_failure(plan([refused], attempt(PROVING, run(), of=target), target=target))
    assert found.version == due_to
    assert found.sha256 == (target.digests[due_to] if due_to else None)


def test_pods_that_refuse_it_one_after_another_are_one_try() -> None:
    """Else five pods that load it at once would be five tries, and nothing were tried again."""
    views = [pod(B, A), pod(B, A, name="clip-1")]
    record = attempt(SWITCHING, run(), run("clip-1"))
    first = plan([replace(views[0], verdict=verdict(Outcome.REFUSED)), replace(views[1], is_busy=True)], record)
    assert first.phase is RETURNING
    second = plan([views[0], replace(views[1], verdict=verdict(Outcome.REFUSED))], first.record)
    assert only_failure(second).tries == 1


def test_what_is_final_stays_so_whatever_else_fails_of_the_same_try() -> None:
    views = [pod(B, A), pod(B, A, name="clip-1")]
    record = attempt(SWITCHING, run(), run("clip-1"))
    first = plan([replace(views[0], verdict=verdict(Outcome.DIFFERS, COSINE)), replace(views[1], is_busy=True)], record)
    second = plan([views[0], replace(views[1], verdict=verdict(Outcome.REFUSED))], first.record)
    assert only_failure(second).reason == reasons.GOLDEN_CHECK_FAILED


def test_what_proves_final_after_a_lesser_failure_of_the_same_try_is_remembered() -> None:
    views = [pod(B, A), pod(B, A, name="clip-1")]
    record = attempt(SWITCHING, run(), run("clip-1"))
    first = plan([replace(views[0], verdict=verdict(Outcome.REFUSED)), replace(views[1], is_busy=True)], record)
    second = plan([views[0], replace(views[1], verdict=verdict(Outcome.DIFFERS, COSINE))], first.record)
    assert only_failure(second).is_final


MESSAGES = {
    "killed for memory": (restarted(end=OOM), f"memory holds one copy: {ONE_COPY} Pod clip-0 was killed while it loaded a second one."),
    "nobody says why": (restarted(end=EXIT), f"memory holds one copy, most likely: {ONE_COPY} Pod clip-0 ended (exit code 139) while it loaded a second one."),
    "the light image": (pod(A, verdict=verdict(Outcome.REFUSED, "Stub process is not healthy")), f"memory holds one copy, most likely: {ONE_COPY} Pod clip-0 lost a process to the load."),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_where_memory_holds_one_copy_it_is_said_with_what_to_do(name: str) -> None:
    view, message = MESSAGES[name]
    assert only_failure(plan([view], attempt(PROVING, run()))).message == message


def test_of_a_pod_that_does_not_start_the_last_line_is_said() -> None:
    end = {"exitCode": 1, "message": "starting\nerror: no such opset\n"}
    new = starting(name="clip-1", slot="b", container=triton(restarts=1, end=end))
    failure = only_failure(plan([pod(A), new], attempt(REPLACING, slot="b"), fields={**REPLACE, **ROLLING}))
    assert failure.message == "pod clip-1 does not start with it: error: no such opset"
    assert not failure.is_final
    on_trial = crashing(restarts=9)
    failure = only_failure(plan([on_trial], attempt(TRIAL, "uid-clip-0/2"), ledger=Ledger(B, A)))
    assert failure.message == "pod clip-0 does not start with it: last line"


def test_a_commit_forgets_what_failed_of_it_before() -> None:
    record = replace(failed(), attempt=Attempt(B, SWITCHING, 2, (run(),)))
    assert plan([pod(B)], record, fields={"now": NOW + timedelta(hours=1)}).record == RolloutRecord()


def test_tries_are_counted() -> None:
    later = {"now": NOW + timedelta(hours=1)}
    assert plan([pod(A)], failed(), fields=later).record.attempt == Attempt(B, PROVING, 2, (run(),))
    assert plan([crashing()], failed(), fields=later).record.attempt == Attempt(B, TRIAL, 2, restarts={"uid-clip-0": 2})
    replacing = plan([pod(A)], failed(), fields={**later, **REPLACE}).record.attempt
    assert replacing == Attempt(B, REPLACING, 2, slot="b")
    first = plan([starting(OLD)], failed(), ledger=Ledger(B), boot="B", fields=later).record.attempt
    assert first == Attempt(B, PROVING, 2, (run(),))


RECHECKS: dict[str, tuple[Sequence[PodView], RolloutRecord, float | None]] = {
    "an event tells of all": ([pod(A)], RolloutRecord(), None),
    "a failure waits": ([pod(A)], failed(), 60.0),
    "a failure is final": ([pod(A)], failed(reasons.GOLDEN_CHECK_FAILED), None),
    "a step waits on a pod": ([pod(A, waits={("Look", ""): 5.0, ("Prove", B.id): 9.0})], failed(), 5.0),
    "a step waits on a pod that does not run": (
        [starting(is_running=False, waits={("Look", ""): 5.0})],
        failed(),
        60.0,
    ),
}


@pytest.mark.parametrize("name", RECHECKS)
@pytest.mark.parametrize("is_paused", [False, True])
def test_when_it_comes_again_without_an_event(name: str, is_paused: bool) -> None:  # noqa: FBT001 - a row
    pods, record, seconds = RECHECKS[name]
    assert plan(pods, record, fields={"is_paused": is_paused}).recheck_s == seconds


def test_a_failure_of_another_template_wakes_nobody() -> None:
    assert plan([pod(A)], failed(), target=A, fields={"template": "other"}).recheck_s is None


# What may be under way.

MAY_LOAD: dict[str, tuple[RolloutRecord, Ledger, bool]] = {
    "no attempt is open": (RolloutRecord(), PROVEN_A, False),
    "a proof loads under the candidate's name alone": (attempt(PROVING), PROVEN_A, False),
    "the first ones load under the real name": (attempt(PROVING), LOST, True),
    "switching": (attempt(SWITCHING), PROVEN_A, True),
    "returning": (attempt(RETURNING), PROVEN_A, True),
    "on trial": (attempt(TRIAL), PROVEN_A, True),
    "replacing": (attempt(REPLACING), PROVEN_A, True),
}


@pytest.mark.parametrize("name", MAY_LOAD)
def test_whether_a_load_under_the_real_name_may_be_under_way(name: str) -> None:
    record, ledger, may = MAY_LOAD[name]
    assert may_load(record, ledger) is may


#: The attempt, the ledger -> which revisions a step may load.
LOADABLE: dict[str, tuple[RolloutRecord, Ledger, set[str]]] = {
    "nothing is known": (RolloutRecord(), LOST, set()),
    "at rest what is proven": (RolloutRecord(), PROVEN_A, {"A"}),
    "at first what is started with": (RolloutRecord(), NOTHING, {"A"}),
    "on trial both": (attempt(TRIAL), Ledger(B, A), {"A", "B"}),
    "an attempt is open": (attempt(PROVING), PROVEN_A, {"A", "B"}),
    "it is given up": (attempt(RETURNING), PROVEN_A, {"A"}),
}


@pytest.mark.parametrize("name", LOADABLE)
def test_what_a_step_may_load_when(name: str) -> None:
    record, ledger, loadable = LOADABLE[name]
    assert {NAMES[i] for i in RolloutPlan(ledger, record, B).loadable} == loadable


#: The attempt, the ledger -> what starts in each slot.
STARTS: dict[str, tuple[RolloutRecord, Ledger, str | None, str | None]] = {
    "pods read the first slot": (RolloutRecord(), PROVEN_A, "A", None),
    "new pods are to read the second": (attempt(REPLACING, slot="b"), PROVEN_A, "A", "B"),
    "that is given up": (attempt(RETURNING, slot="b"), PROVEN_A, "A", None),
    "pods read the second slot": (RolloutRecord(), B_SLOT, None, "A"),
    "new pods are to read the first": (attempt(REPLACING, slot=""), B_SLOT, "B", "A"),
    "that is given up as well": (attempt(RETURNING, slot=""), B_SLOT, None, "A"),
}


@pytest.mark.parametrize("name", STARTS)
def test_what_starts_in_each_slot_when(name: str) -> None:
    record, ledger, first, second = STARTS[name]
    found = RolloutPlan(ledger, record, FAST)
    assert (named(found.starts("")), named(found.starts("b"))) == (first, second)


def test_the_run_of_a_pod_is_what_builders_say() -> None:
    assert run_of(pod(A).pod) == run()
    assert run_of(restarted(end=EXIT).pod) == run(container="containerd://1")
