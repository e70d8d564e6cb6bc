"""What a user is told, case by case; and what must hold of any status whatever a pass has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus, Endpoints
from clipmodel_operator.assessment.pods import is_ready
from clipmodel_operator.assessment.status import assess_status, blocked_by
from clipmodel_operator.assessment.status_input import ModelView, Subject
from clipmodel_operator.models import reasons
from clipmodel_operator.models.observed import Loaded, PodView
from clipmodel_operator.models.version import SyncPhase, Version
from support.builders import NAME, NOW, SHA_1, SHA_2, build_record, build_server_pod

ENDPOINTS = Endpoints(http="clip.demo.svc:8000", grpc="clip.demo.svc:8001", metrics="clip.demo.svc:8002")


def subject(
    *, replicas: int = 1, previous: ClipModelStatus | None = None, generation: int = 2, paused: bool = False
) -> Subject:
    return Subject(
        generation=generation, model_name="clip", name=NAME, profile=Profile.CPU, replicas=replicas, endpoints=ENDPOINTS,
        previous=previous or ClipModelStatus(), is_paused=paused,
    )  # fmt: skip


def synced(number: int, sha256: str, space: str = "space-a", **fields: Any) -> Version:
    record = build_record(number, sha256=sha256)
    return Version(number, SyncPhase.DONE, record=record, space_id=space, **fields)


SYNCED_1 = synced(1, SHA_1)
SYNCED_2 = synced(2, SHA_2)
RUNNING = Version(1, SyncPhase.RUNNING, "Job clip-sync-v1-x fetches and proves it")


def troubled(reason: str, *, is_final: bool, number: int = 1, message: str = "it went wrong, mend it.") -> Version:
    phase = SyncPhase.FAILED if is_final else SyncPhase.RETRYING
    return Version(number, phase, failure=Failure(reason, message, is_final=is_final))


def pod(
    name: str = "clip-0",
    *,
    runs: tuple[int, ...] | None = (1,),
    difference: str | None = None,
    is_current: bool = True,
    **fields: Any,
) -> PodView:
    loaded = None if runs is None else Loaded("id", runs, difference)
    return PodView(
        build_server_pod(name, **fields),
        profile="cpu",
        is_current=is_current and loaded is not None and difference is None,
        loaded=loaded,
    )


def view(
    *versions: Version, pods: tuple[PodView, ...] = (), chosen: tuple[int, ...] = (1,), **fields: Any
) -> ModelView:
    known = {"target": chosen, "committed": chosen, **fields}
    return ModelView(versions=versions, chosen=chosen, pods=pods, **known)


#: Triton's last line on a node without a usable GPU, as 2.51 says it.
NO_GPU = (
    "error: creating server: Invalid argument - load failed for model 'clip': version 1 is at UNAVAILABLE state: "
    "Invalid argument: instance group clip_0 of model clip specifies invalid or unsupported gpu id 0."
)


@dataclass(frozen=True)
class Case:
    """A view, and what is said of it: Ready, Reconciling, Stalled as (status, reason), and of the rest what matters."""

    view: ModelView
    ready: tuple[str, str]
    reconciling: str | None = None
    stalled: bool = False
    others: dict[str, tuple[str, str]] = field(default_factory=dict)
    said: str = ""
    replicas: int = 1
    serving: tuple[int, ...] = ()
    state: str | None = None
    paused: bool = False


CASES = {
    # The way to Ready.
    "nothing is known yet": Case(ModelView(), ("Unknown", "SyncPending"), "Progressing", said="Nothing is known", others={"Synced": ("Unknown", "SyncPending")}),
    "a Job is being created": Case(view(Version(1, SyncPhase.NO_JOB, "a sync Job is being created"), committed=()), ("Unknown", "SyncPending"), "Progressing", state="Pending"),
    "a Job runs": Case(view(RUNNING, committed=()), ("Unknown", "Syncing"), "Progressing", said="version 1: Job clip-sync-v1-x fetches and proves it.", others={"Synced": ("Unknown", "Syncing")}, state="Syncing"),
    "a try failed and comes again": Case(view(troubled("SourceUnavailable", is_final=False), committed=()), ("False", "SourceUnavailable"), "ProgressingWithRetry", others={"Synced": ("False", "SourceUnavailable")}, state="Syncing"),
    "a Job failed without a word": Case(view(troubled("SyncFailed", is_final=False), committed=()), ("False", "SyncFailed"), "ProgressingWithRetry"),
    "the digest is another": Case(view(troubled("DigestMismatch", is_final=True), committed=()), ("False", "DigestMismatch"), stalled=True, others={"Synced": ("False", "DigestMismatch")}, said="version 1: it went wrong, mend it.", state="Failed"),
    "it is synced and no pod is there": Case(view(SYNCED_1), ("Unknown", "PodsNotReady"), "Progressing", others={"Synced": ("True", "VersionSynced"), "Verified": ("Unknown", "GoldenCheckPending"), "Available": ("False", "PodsNotReady")}, state="Synced"),
    "a pod starts": Case(view(SYNCED_1, pods=(pod(runs=None, is_running=False, is_ready=False),)), ("Unknown", "PodsNotReady"), "Progressing", said="0 of 1 pods are proven"),
    "a pod is ready and was not asked yet": Case(view(SYNCED_1, pods=(pod(runs=None),)), ("Unknown", "PodsNotReady"), "Progressing", others={"Available": ("False", "PodsNotReady")}),
    "a pod answers rightly and is not ready yet": Case(view(SYNCED_1, pods=(pod(is_ready=False),)), ("Unknown", "PodsNotReady"), "Progressing"),
    "all is well": Case(view(SYNCED_1, pods=(pod(),)), ("True", "Serving"), said="version 1 of clip on 1 of 1 pods, proven by the golden check.", others={"Verified": ("True", "GoldenCheckPassed"), "Available": ("True", "PodsReady")}, serving=(1,), state="Serving"),
    "two versions serve": Case(view(SYNCED_1, SYNCED_2, chosen=(1, 2), pods=(pod(runs=(1, 2)),)), ("True", "Serving"), said="versions 1, 2 of clip", serving=(1, 2)),
    # Pods.
    "one of two pods is ready": Case(view(SYNCED_1, pods=(pod(), pod("clip-1", runs=None, is_running=False, is_ready=False))), ("True", "Serving"), "Progressing", said="1 of 2 pods", replicas=2, serving=(1,)),
    "one of two pods is ready and the other cannot be scheduled": Case(view(SYNCED_1, pods=(pod(), pod("clip-1", runs=None, unschedulable="0/1 nodes are available"))), ("True", "Serving"), "Progressing", replicas=2, serving=(1,)),
    "a second ready pod has not been asked yet": Case(view(SYNCED_1, pods=(pod(), pod("clip-1", runs=None))), ("Unknown", "RollingOut"), "Progressing", replicas=2, serving=(1,), others={"Verified": ("Unknown", "GoldenCheckPending")}),
    "no node fits": Case(view(SYNCED_1, pods=(pod(runs=None, unschedulable="0/1 nodes are available: insufficient nvidia.com/gpu"),)), ("False", "ServerFailed"), "ProgressingWithRetry", said="cannot be scheduled: 0/1 nodes are available: insufficient nvidia.com/gpu"),
    "the image is not there": Case(view(SYNCED_1, pods=(pod(runs=None, waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image x"}),)), ("False", "ServerFailed"), "ProgressingWithRetry", said="pod clip-0: ImagePullBackOff: Back-off pulling image x"),
    "Triton exits at once": Case(view(SYNCED_1, pods=(pod(runs=None, waiting={"reason": "CrashLoopBackOff"}, last_log="one\nerror: unsupported gpu id 0\n"),)), ("False", "ServerFailed"), "ProgressingWithRetry", said="error: unsupported gpu id 0"),
    "Triton says at length why it exits, while pods of an earlier template serve": Case(view(SYNCED_1, pods=(pod(is_current=False), pod("clip-1", runs=None, waiting={"reason": "CrashLoopBackOff"}, last_log=NO_GPU))), ("False", "ServerFailed"), "ProgressingWithRetry", said="CrashLoopBackOff: Invalid argument: instance group clip_0 of model clip specifies invalid or unsupported gpu id 0. Meanwhile version 1 serves.", serving=(1,), replicas=2),
    "what serves is told, and the rest is marked as cut": Case(view(SYNCED_1, pods=(pod(is_current=False), pod("clip-1", runs=None, unschedulable="x" * 300))), ("False", "ServerFailed"), "ProgressingWithRetry", said="xxx… Meanwhile version 1 serves.", serving=(1,), replicas=2),
    "a pod embeds otherwise": Case(view(SYNCED_1, pods=(pod(difference="version 1, golden image 0: cosine 0.5", is_ready=False),)), ("False", "GoldenCheckFailed"), stalled=True, others={"Verified": ("False", "GoldenCheckFailed")}, said="pod clip-0: version 1, golden image 0: cosine 0.5"),
    "a ready pod embeds otherwise": Case(view(SYNCED_1, pods=(pod(difference="cosine 0.5"),)), ("False", "GoldenCheckFailed"), stalled=True, serving=()),
    "pods of an earlier template serve while new ones start": Case(view(SYNCED_1, pods=(pod(is_current=False), pod("clip-1", runs=None, is_running=False, is_ready=False))), ("Unknown", "RollingOut"), "Progressing", said="Meanwhile version 1 serves.", serving=(1,), replicas=2),
    "an ending pod counts for nothing": Case(view(SYNCED_1, pods=(pod(is_ending=True),)), ("Unknown", "PodsNotReady"), "Progressing"),
    "no pods are wanted": Case(view(SYNCED_1), ("False", "ScaledToZero"), replicas=0, others={"Available": ("False", "ScaledToZero")}, said="set it to 1 or more"),
    # From version to version.
    "version 2 syncs while version 1 serves": Case(view(SYNCED_1, Version(2, SyncPhase.RUNNING, "Job x fetches and proves it"), chosen=(2,), target=(1,), committed=(1,), pods=(pod(),)), ("Unknown", "Syncing"), "Progressing", said="version 2: Job x fetches and proves it. Meanwhile version 1 serves.", others={"Available": ("True", "PodsReady")}, serving=(1,)),
    "version 2 fails while version 1 serves": Case(view(SYNCED_1, troubled("DigestMismatch", is_final=True, number=2), chosen=(2,), target=(1,), committed=(1,), pods=(pod(),)), ("False", "DigestMismatch"), stalled=True, said="Meanwhile version 1 serves.", serving=(1,)),
    "version 2 is of another space": Case(view(SYNCED_1, synced(2, SHA_2, "space-b", failure=Failure("EmbeddingSpaceMismatch", "say newEmbeddingSpace", is_final=True)), chosen=(2,), target=(1,), committed=(1,), pods=(pod(),)), ("False", "EmbeddingSpaceMismatch"), stalled=True, serving=(1,), others={"Synced": ("True", "VersionSynced")}),
    "version 2 is refused by Triton": Case(view(SYNCED_1, synced(2, SHA_2, "space-a", failure=Failure("ServerRejected", "Triton cannot load it", is_final=True)), chosen=(2,), target=(1,), committed=(1,), pods=(pod(),)), ("False", "ServerRejected"), stalled=True, serving=(1,)),
    "pods change over to version 2": Case(view(SYNCED_1, SYNCED_2, chosen=(2,), committed=(1,), pending=1, pods=(pod(),)), ("Unknown", "RollingOut"), "Progressing", said="version 2 with the current configuration goes to 1 pod, proven first", serving=(1,)),
    "a version that nobody chooses fails, and does not matter": Case(view(SYNCED_1, troubled("DigestMismatch", is_final=True, number=2), pods=(pod(),)), ("True", "Serving"), serving=(1,), others={"Synced": ("False", "DigestMismatch")}),
    "the configuration is refused": Case(view(SYNCED_1, pods=(pod(),), config_failure=Failure("ServerRejected", "Triton refuses the configuration: no.", is_final=True)), ("False", "ServerRejected"), stalled=True, said="Correct the spec. Meanwhile version 1 serves.", serving=(1,)),
    "memory holds one copy": Case(view(SYNCED_1, pods=(pod(),), config_failure=Failure("OutOfMemory", "memory holds one copy: raise the limit.", is_final=True)), ("False", "OutOfMemory"), stalled=True, said="is not taken over: memory holds one copy: raise the limit. Meanwhile version 1 serves.", serving=(1,)),
    "a server ended in the middle of it, once": Case(view(SYNCED_1, pods=(pod(),), config_failure=Failure("ServerKilled", "pod clip-0 ended. Tried again at 12:01 UTC (try 2).", is_final=False)), ("False", "ServerKilled"), "ProgressingWithRetry", said="Tried again at 12:01 UTC (try 2). Meanwhile version 1 serves.", serving=(1,)),
    "a server did not answer in the middle of it": Case(view(SYNCED_1, pods=(pod(),), config_failure=Failure("ServerSilent", "pod clip-0 did not answer.", is_final=False)), ("False", "ServerSilent"), "ProgressingWithRetry", serving=(1,)),
    # What blocks a pass.
    "the spec cannot be read": Case(ModelView(blocked=blocked_by("InvalidSpec", "spec.profile: no such profile.", is_final=True)), ("False", "InvalidSpec"), stalled=True, said="spec.profile"),
    "the API server refuses an object": Case(view(SYNCED_1, pods=(pod(),), blocked=blocked_by("ObjectRejected", "Service clip is there already.", is_final=True)), ("False", "ObjectRejected"), stalled=True, said="Meanwhile version 1 serves.", serving=(1,)),
    "the API server does not answer": Case(view(SYNCED_1, pods=(pod(),), blocked=blocked_by("ApiUnavailable", "500", is_final=False)), ("False", "ApiUnavailable"), "ProgressingWithRetry", serving=(1,)),
    "it is paused and serves": Case(view(SYNCED_1, Version(2, SyncPhase.NO_JOB), chosen=(2,), target=(1,), committed=(1,), pods=(pod(),)), ("True", "Serving"), others={"Paused": ("True", "Paused")}, paused=True, serving=(1,)),
    "it is paused and nothing serves": Case(view(SYNCED_1), ("False", "Paused"), others={"Paused": ("True", "Paused")}, paused=True, said="set it to false"),
    "it is paused and embeds otherwise": Case(view(SYNCED_1, pods=(pod(difference="cosine 0.5"),)), ("False", "GoldenCheckFailed"), stalled=True, paused=True),
    "we have a bug": Case(ModelView(blocked=blocked_by("InternalError", "see its log", is_final=False)), ("False", "InternalError"), "ProgressingWithRetry"),
}  # fmt: skip


def assess(case: Case, previous: ClipModelStatus | None = None) -> ClipModelStatus:
    return assess_status(subject(replicas=case.replicas, previous=previous, paused=case.paused), case.view, now=NOW)


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_when(name: str) -> None:
    case = CASES[name]
    status = assess(case)
    found = {c.type: c for c in status.conditions}
    ready = found["Ready"]
    assert (ready.status, ready.reason) == case.ready, ready.message
    reconciling, stalled = found.get("Reconciling"), found.get("Stalled")
    assert (reconciling.reason if reconciling else None) == case.reconciling
    assert (stalled is not None) == case.stalled
    assert case.said in ready.message
    for kind, expected in case.others.items():
        assert (found[kind].status, found[kind].reason) == expected, kind
    assert status.serving_versions == list(case.serving)
    if case.state is not None:
        assert status.versions[0].state == case.state
    assert status.endpoints == ENDPOINTS
    assert_true_of_any(status, case.view, case.replicas, paused=case.paused)


def assert_true_of_any(status: ClipModelStatus, view: ModelView, replicas: int, *, paused: bool = False) -> None:
    """What holds whatever a pass has found: kstatus, bounds, and that Ready is no lie."""
    found = {c.type: c for c in status.conditions}
    assert len(found) == len(status.conditions)
    assert {"Ready", "Synced", "Verified", "Available"} <= set(found)
    assert not ("Reconciling" in found and "Stalled" in found)
    for kind in ("Reconciling", "Stalled"):
        assert kind not in found or found[kind].status == "True", "there only while True"
    ready = found["Ready"]
    assert ("Paused" in found) == paused
    if found["Verified"].status == "True":
        assert all(p.loaded is not None and p.loaded.difference is None for p in view.pods if is_ready(p.pod))
    if paused:
        assert ready.status != "True" or status.serving_versions
    elif ready.status == "True":
        assert "Stalled" not in found
        proven = [
            p
            for p in view.pods
            if p.is_current and is_ready(p.pod) and p.loaded is not None and p.loaded.difference is None
        ]
        assert proven, "Ready: a ready pod has proven what is committed"
        assert all(p in proven for p in view.pods if is_ready(p.pod)), "Ready: no other pod gets traffic"
        assert view.blocked is None
        assert view.config_failure is None
        assert not view.pending
        assert status.serving_versions
    elif ready.status == "Unknown":
        assert "Reconciling" in found
    else:
        assert "Reconciling" in found or "Stalled" in found or (replicas == 0 and ready.reason == "ScaledToZero")
    for condition in status.conditions:
        assert 0 < len(condition.message) <= 256
        assert "\n" not in condition.message
        assert condition.observed_generation == status.observed_generation
    assert all(len(v.message or "") <= 256 for v in status.versions)
    assert status.ready_replicas <= len(view.pods)
    ClipModelStatus.model_validate(status.model_dump(by_alias=True, exclude_none=True, mode="json"))


def test_every_reason_is_said_in_some_case() -> None:
    types = {reasons.READY, reasons.RECONCILING, reasons.STALLED, reasons.SYNCED, reasons.VERIFIED, reasons.AVAILABLE}
    known = {v for k, v in vars(reasons).items() if k.isupper() and isinstance(v, str)} - types
    told = {c.reason for case in CASES.values() for c in assess(case).conditions}
    assert known <= told, "a reason that nobody says any more is taken out"


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=400).map(lambda text: f"x{text}")
sync_reasons = st.sampled_from([reason.value for reason in SyncReason])


@st.composite
def version_views(draw: st.DrawFn) -> Version:
    number = draw(st.integers(1, 4))
    failure = draw(st.none() | st.builds(Failure, sync_reasons, texts, is_final=st.booleans()))
    if draw(st.booleans()):
        return synced(number, draw(st.sampled_from([SHA_1, SHA_2])), failure=failure)
    phase = draw(st.sampled_from([p for p in SyncPhase if p is not SyncPhase.DONE]))
    return Version(number, phase, draw(texts), failure=failure)


@st.composite
def pod_states(draw: st.DrawFn) -> PodView:
    loaded = draw(
        st.none()
        | st.builds(
            Loaded, st.just("id"), st.lists(st.integers(1, 4), min_size=1, unique=True).map(tuple), st.none() | texts
        )
    )
    built = build_server_pod(
        draw(st.sampled_from(["clip-0", "clip-1"])),
        is_ready=draw(st.booleans()),
        is_ending=draw(st.booleans()),
        waiting=draw(st.none() | st.just({"reason": "CrashLoopBackOff"})),
        last_log=draw(st.none() | texts),
        unschedulable=draw(st.none() | texts),
    )
    is_current = loaded is not None and loaded.difference is None and draw(st.booleans())
    return PodView(built, "cpu", loaded, is_current=is_current)


numbers = st.lists(st.integers(1, 4), unique=True, max_size=3).map(tuple)
views = st.builds(
    ModelView,
    versions=st.lists(version_views(), max_size=3, unique_by=lambda v: v.number).map(tuple),
    chosen=numbers, target=numbers, committed=numbers,
    pods=st.lists(pod_states(), max_size=3).map(tuple),
    pending=st.integers(0, 2),
    config_failure=st.none() | st.builds(Failure, st.just("ServerRejected"), texts, is_final=st.just(True)),
    blocked=st.none() | st.builds(blocked_by, sync_reasons, texts, is_final=st.booleans()),
)  # fmt: skip


@given(views, st.integers(0, 3), st.booleans())
def test_whatever_is_found_the_status_is_sound(view: ModelView, replicas: int, paused: bool) -> None:  # noqa: FBT001 - drawn
    status = assess_status(subject(replicas=replicas, paused=paused), view, now=NOW)
    assert_true_of_any(status, view, replicas, paused=paused)


@given(views, views, st.integers(0, 2))
def test_times_move_with_the_status_only(before: ModelView, after: ModelView, replicas: int) -> None:
    old = assess_status(subject(replicas=replicas, generation=1), before, now=NOW)
    new = assess_status(subject(replicas=replicas, previous=old), after, now=NOW + timedelta(hours=1))
    earlier = {c.type: c for c in old.conditions}
    for condition in new.conditions:
        was = earlier.get(condition.type)
        is_moved = condition.last_transition_time == "2026-11-22T13:00:00Z"
        assert is_moved == (was is None or was.status != condition.status)
    again = assess_status(subject(replicas=replicas, previous=new), after, now=NOW + timedelta(hours=2))
    assert again == new, "what stays is not written again"


@pytest.mark.parametrize("serving", [1, 40, 65])
def test_where_there_are_more_versions_than_status_holds_what_serves_is_told(serving: int) -> None:
    """64 in the spec, and beside them the one that serves and is in the spec no longer."""
    versions = tuple(synced(n, f"{n:064x}") for n in range(1, 66))
    found = view(*versions, chosen=(65,), target=(serving,), committed=(serving,), pods=(pod(runs=(serving,)),))
    status = assess_status(subject(), found, now=NOW)
    told = [v.version for v in status.versions]
    assert len(told) == 64
    assert told == sorted(told)
    assert {serving, 65} <= set(told)
    ClipModelStatus.model_validate(status.model_dump(by_alias=True, exclude_none=True, mode="json"))
