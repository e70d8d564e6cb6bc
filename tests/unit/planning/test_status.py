"""From a pass's plan to a status: which pods count as current, what is said of a paused ClipModel, and how little where the pass ended early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.api.v1alpha1.status import (
    MAX_PODS,
    ClipModelStatus,
    PodStatus,
    RolloutPhase,
    VersionState,
    VersionStatus,
)
from clipmodel_operator.assessment.status import blocked_by
from clipmodel_operator.models import reasons
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.observed import Observed, Outcome, PodView, Verdict
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.planning.jobs import job_name, plan_jobs
from clipmodel_operator.planning.objects import Desired, plan_desired
from clipmodel_operator.planning.status import plan_status
from clipmodel_operator.planning.versions import assess_versions
from clipmodel_operator.rendering.revision import render_revision
from clipmodel_operator.rendering.rollout_map import render_rollout_map
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import (
    NOW,
    ONE,
    SHA_1,
    SHA_2,
    TWO,
    Object,
    build_config_map,
    build_job,
    build_object,
    build_record,
    build_server_pod,
    build_spec,
    build_version,
    build_view,
)

SECRET: Object = {"kind": "Secret", "metadata": {"name": "clip-control-1"}}
FASTER: Object = {"batching": {"maxQueueDelay": "1ms"}}
#: What is committed in all cases: version 1, by a spec of version 1 alone.
COMMITTED = build_config_map(1, records=(build_record(), build_record(2, sha256=SHA_2)))


def revision(*versions: int, **fields: Any) -> Revision:
    model = parse_clip_model(build_object(build_spec(**fields)))
    return render_revision(model, {v: {1: SHA_1, 2: SHA_2}[v] for v in versions})


def pod(*versions: int, profile: Profile = Profile.CPU, difference: str | None = None, **fields: Any) -> PodView:
    """Build a ready pod that runs versions by the config of a spec with `fields`, and has proven them unless it differs."""
    of = revision(*versions, **fields) if versions else None
    loads = of.config_ids[profile.value] if of is not None else ""
    view = build_view(*versions, pod=build_server_pod(profile=profile.value), config_id=loads, difference=difference)
    is_proven = of is not None and difference is None
    return replace(view, proved=frozenset({of.proof_of(profile.value)} if is_proven and of is not None else ()))


def desire(model: ClipModel, observed: Observed, views: Sequence[PodView]) -> Desired:
    settings = RenderSettings()
    assessed = assess_versions(model, observed, settings, now=NOW)
    return plan_desired(model, observed, assessed, views, settings, control_secret=SECRET, retry="", now=NOW)


def status_of(spec: Object, observed: Observed, *views: PodView, **fields: Any) -> ClipModelStatus:
    obj = build_object(spec, generation=3)
    model = parse_clip_model(obj)
    known: dict[str, Any] = {"blocked": None, "previous": ClipModelStatus(), **fields}
    return plan_status(
        obj,
        model,
        desire(model, observed, views),
        views,
        generation=3,
        deployment=observed.deployment,
        now=NOW,
        **known,
    )


def said(status: ClipModelStatus, kind: str) -> tuple[str, str] | None:
    return next(((c.status, c.reason) for c in status.conditions if c.type == kind), None)


@dataclass(frozen=True)
class Case:
    """The spec's further fields and the one pod; whether the pod counts as current, and what Ready says."""

    fields: Object
    pod: PodView
    is_current: bool
    ready: tuple[str, str]


SERVING, ROLLING, PAUSED = ("True", "Serving"), ("Unknown", "RollingOut"), ("False", "Paused")
CURRENT = {
    "it runs what is committed": Case({}, pod(1), is_current=True, ready=SERVING),
    "it runs what is proven, and another config is asked for": Case(FASTER, pod(1), is_current=True, ready=ROLLING),
    "it runs another version": Case({}, pod(2), is_current=False, ready=ROLLING),
    "it is of the profile that the spec had before": Case({"profile": "gpu"}, pod(1), is_current=False, ready=ROLLING),
    "it is of the spec's profile, gpu": Case({"profile": "gpu"}, pod(1, profile=Profile.GPU), is_current=True, ready=SERVING),
    "it is of gpu, and the spec went back to cpu": Case({}, pod(1, profile=Profile.GPU), is_current=False, ready=ROLLING),
    "it answers wrongly": Case({}, pod(1, difference="cosine 0.5"), is_current=False, ready=("False", "GoldenCheckFailed")),
    "it does not answer": Case({}, pod(), is_current=False, ready=("Unknown", "PodsNotReady")),
    "paused: what is committed counts, whatever the spec says": Case({**FASTER, "paused": True}, pod(1), is_current=True, ready=SERVING),
    "paused: the profile of before counts as well": Case({"profile": "gpu", "paused": True}, pod(1), is_current=True, ready=SERVING),
    "paused: a version that is not committed does not": Case({"paused": True}, pod(2), is_current=False, ready=("Unknown", "Paused")),
    "paused: wrong embeddings do not": Case({"paused": True}, pod(1, difference="cosine 0.5"), is_current=False, ready=("False", "GoldenCheckFailed")),
    "paused: one that does not answer does not": Case({"paused": True}, pod(), is_current=False, ready=PAUSED),
}  # fmt: skip


@pytest.mark.parametrize("name", CURRENT)
def test_whether_a_pod_counts_when(name: str) -> None:
    case = CURRENT[name]
    status = status_of(build_spec(**case.fields), Observed(config_map=COMMITTED), case.pod)
    assert status.ready_replicas == int(case.is_current)
    assert said(status, reasons.READY) == case.ready


#: Version 2 with other bytes than those that are known of it.
NEXT = build_version(2, sha256="a" * 64)
STATES: dict[str, tuple[Object, bool, dict[int, tuple[VersionState, str | None]]]] = {
    "a Job is to be made": (build_spec(ONE, NEXT), False, {1: (VersionState.SERVING, None), 2: (VersionState.PENDING, "a sync Job is being created")}),
    "paused: no Job will be made": (build_spec(ONE, NEXT, paused=True), False, {1: (VersionState.SERVING, None), 2: (VersionState.PENDING, "not fetched while spec.paused is true")}),
    "paused: no Job will be made anew": (build_spec(ONE, NEXT, paused=True), True, {1: (VersionState.SERVING, None), 2: (VersionState.PENDING, "not fetched while spec.paused is true")}),
    "what leaves is told of, lowest first": (build_spec(NEXT), False, {1: (VersionState.SERVING, None), 2: (VersionState.PENDING, "a sync Job is being created")}),
    "what was committed and is on the volume": (build_spec(ONE, TWO, versionPolicy={"specific": {"versions": [1]}}), False, {1: (VersionState.SERVING, None), 2: (VersionState.RETIRED, None)}),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_what_is_said_of_versions_when(name: str) -> None:
    spec, is_lost, states = STATES[name]
    model = parse_clip_model(build_object(spec))
    name_of_2 = job_name(plan_jobs(model, Observed(), RenderSettings())[2])
    jobs = (build_job(name_of_2, complete=True),) if is_lost else ()
    status = status_of(spec, Observed(config_map=COMMITTED, jobs=jobs), pod(1))
    assert {v.version: (v.state, v.message) for v in status.versions} == states
    assert [v.version for v in status.versions] == sorted(states)


def test_a_refused_pod_and_a_roll_are_read_from_the_deployment() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}
    deployment: Object = {"spec": {}, "status": {"replicas": 2, "updatedReplicas": 1}}
    status = status_of(build_spec(), Observed(config_map=COMMITTED, deployment=deployment), pod(1))
    assert said(status, reasons.READY) == ROLLING
    deployment = {"spec": {}, "status": {"conditions": [refused]}}
    status = status_of(build_spec(), Observed(config_map=COMMITTED, deployment=deployment))
    assert said(status, reasons.READY) == ("False", "ServerFailed")
    assert "exceeded quota: gpus" in str(status.conditions)


# A pass that ended early.

KNOWN_BEFORE = ClipModelStatus(versions=[VersionStatus(version=1, state=VersionState.SERVING)])
INVALID = blocked_by("InvalidSpec", "spec.profile: wrong", is_final=True)


def test_a_spec_that_cannot_be_read_says_so_and_forgets_nothing() -> None:
    status = plan_status(
        build_object({"profile": "tpu"}),
        None,
        None,
        (build_view(),),
        generation=7,
        previous=KNOWN_BEFORE,
        deployment=None,
        blocked=INVALID,
        now=NOW,
    )
    assert said(status, reasons.STALLED) == ("True", "InvalidSpec")
    assert status.versions == KNOWN_BEFORE.versions
    assert (status.profile, status.model_name, status.endpoints) == (None, None, None)
    assert status.replicas == 1, "pods are seen, whatever the spec says"
    assert status.observed_generation == 7
    assert all(c.observed_generation == 7 for c in status.conditions)
    assert status.selector == "app.kubernetes.io/component=server,clipmodel.dev/model=clip"


def test_a_pass_that_had_a_model_and_no_plan_says_what_the_spec_says() -> None:
    obj = build_object(build_spec(modelName="pictures", paused=True))
    status = plan_status(
        obj,
        parse_clip_model(obj),
        None,
        (),
        generation=1,
        previous=KNOWN_BEFORE,
        deployment=None,
        blocked=blocked_by("ApiUnavailable", "HTTP 500", is_final=False),
        now=NOW,
    )
    assert said(status, reasons.READY) == ("False", "ApiUnavailable")
    assert said(status, reasons.PAUSED) == ("True", "Paused")
    assert (status.profile, status.model_name) == (Profile.CPU, "pictures")
    assert status.endpoints is not None
    assert status.versions == KNOWN_BEFORE.versions


def test_a_pod_that_is_to_prove_the_next_version_is_told_of() -> None:
    status = status_of(build_spec(ONE, TWO), Observed(config_map=COMMITTED), pod(1))
    assert said(status, reasons.READY) == ROLLING
    assert "goes to 1 pod, proven first. Meanwhile version 1 serves." in str(status.conditions)
    assert {v.version: v.state for v in status.versions} == {1: VersionState.SERVING, 2: VersionState.PROVING}


# How far an attempt is.

B = revision(1, **FASTER)
MEMBER = "uid-clip-0/containerd://clip-0"


def attempted(record: RolloutRecord) -> Observed:
    model = parse_clip_model(build_object(build_spec(**FASTER)))
    return Observed(config_map=COMMITTED, rollout_map=render_rollout_map(model, record))


def refused(outcome: Outcome = Outcome.REFUSED) -> ClipModelStatus:
    """Give the status of the pass in which a pod has not taken the target."""
    view = replace(pod(1), verdict=Verdict(B.id, outcome, "no"))
    record = RolloutRecord(Attempt(B, Phase.PROVING, pods=(MEMBER,)))
    return status_of(build_spec(**FASTER), attempted(record), view)


def test_a_config_that_failed_is_told_beside_what_serves() -> None:
    status = refused(Outcome.DIFFERS)
    assert said(status, reasons.STALLED) == ("True", "GoldenCheckFailed")
    assert status.serving_versions == [1]
    assert status.rollout is not None
    assert (status.rollout.phase, status.rollout.not_before) == (RolloutPhase.WAITING, None)


def test_a_config_that_is_tried_again_says_when() -> None:
    status = refused()
    assert said(status, reasons.STALLED) is None
    assert said(status, reasons.READY) == ("False", "ServerRejected")
    assert status.rollout is not None
    assert (status.rollout.phase, status.rollout.tries) == (RolloutPhase.WAITING, 1)
    assert status.rollout.not_before == f"{NOW + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    assert status.rollout.reason == "Triton cannot load it: no"
    assert (status.rollout.proven_revision, status.rollout.target_revision) == (revision(1).id, B.id)
    assert "Tried again at 12:01 UTC (try 2)" in str(status.conditions)


def test_an_attempt_says_its_phase_and_its_tries() -> None:
    record = RolloutRecord(Attempt(B, Phase.PROVING, 3, (MEMBER,)))
    status = status_of(build_spec(**FASTER), attempted(record), replace(pod(1), is_busy=True))
    assert status.rollout is not None
    assert (status.rollout.phase, status.rollout.tries) == (RolloutPhase.PROVING, 3)
    assert status.rollout.reason is None


def test_every_phase_of_an_attempt_can_be_told() -> None:
    assert {p.value for p in Phase} | {"Waiting"} == {p.value for p in RolloutPhase}


def test_at_rest_there_is_no_phase() -> None:
    status = status_of(build_spec(), Observed(config_map=COMMITTED), pod(1))
    assert status.rollout is not None
    assert status.rollout.phase is None
    assert status.rollout.tries is None
    assert status.rollout.proven_revision == status.rollout.target_revision == revision(1).id
    assert status.pods == [PodStatus(name="clip-0", revision=revision(1).id, ready=True)]


def test_before_the_first_sync_there_is_no_revision() -> None:
    assert status_of(build_spec(), Observed()).rollout is None


def named(name: str, *versions: int, **fields: Any) -> PodView:
    view = pod(*versions, **fields)
    return replace(view, pod=build_server_pod(name, is_ready="is_not_ready" not in fields))


def test_of_each_pod_it_is_said_what_it_runs() -> None:
    gone = replace(pod(1), pod=build_server_pod("clip-3", is_ending=True))
    starting = replace(pod(), pod=build_server_pod("clip-2", is_ready=False))
    views = [named("clip-1", 1, **FASTER), starting, named("clip-0", 1), gone]
    status = status_of(build_spec(**FASTER), Observed(config_map=COMMITTED), *views)
    assert status.pods == [
        PodStatus(name="clip-0", revision=revision(1).id, ready=True),
        PodStatus(name="clip-1", revision=B.id, ready=True),
        PodStatus(name="clip-2", revision=None, ready=False),
    ]


def test_pods_beyond_what_status_has_room_for_are_left_out() -> None:
    views = [named(f"clip-{n:02}", 1) for n in range(MAX_PODS + 3)]
    status = status_of(build_spec(), Observed(config_map=COMMITTED), *reversed(views))
    assert [p.name for p in status.pods] == [f"clip-{n:02}" for n in range(MAX_PODS)]


def test_what_blocks_is_told_beside_a_plan() -> None:
    blocked = blocked_by("ObjectRejected", "the API server refuses Service clip", is_final=True)
    status = status_of(build_spec(), Observed(config_map=COMMITTED), pod(1), blocked=blocked)
    assert said(status, reasons.STALLED) == ("True", "ObjectRejected")
    assert status.serving_versions == [1]
