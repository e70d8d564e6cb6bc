from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from clipmodel_operator.inspection.codes import StatusCode
from clipmodel_operator.inspection.overview import (
    Found,
    Loaded,
    Outcome,
    assess_outcome,
    assess_overview,
    describe_policy,
    read_loaded,
    worst,
)
from support.builders import NOW, ONE, OTHER, TWO, build_object, build_server_pod, build_spec, build_sync_pod

Object = dict[str, Any]


def condition(
    kind: str, status: str, reason: str = "Serving", *, generation: int = 1, message: str = "Words."
) -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-22T11:58:00Z",
    }


def clip(*conditions: Object, generation: int = 1, observed: int = 1, **status: Any) -> Object:
    return build_object(
        generation=generation, status={"observedGeneration": observed, "conditions": list(conditions), **status}
    )


OUTCOMES = {
    "ready is ready": (clip(condition("Ready", "True")), Outcome.READY, True),
    "ready with fewer pods than wanted is ready": (
        clip(condition("Ready", "True"), condition("Reconciling", "True")),
        Outcome.READY,
        True,
    ),
    "unknown is on the way": (clip(condition("Ready", "Unknown", "Syncing")), Outcome.PROGRESSING, False),
    "false that is tried again is not ready, and not settled": (
        clip(condition("Ready", "False", "SourceUnavailable"), condition("Reconciling", "True")),
        Outcome.NOT_READY,
        False,
    ),
    "stalled is settled": (
        clip(condition("Ready", "False", "DigestMismatch"), condition("Stalled", "True")),
        Outcome.NOT_READY,
        True,
    ),
    "scaled to zero is settled": (clip(condition("Ready", "False", "ScaledToZero")), Outcome.NOT_READY, True),
    "an edit that nobody has looked at is on the way": (
        clip(condition("Ready", "True"), generation=2),
        Outcome.PROGRESSING,
        False,
    ),
    "what was stalled before an edit is not settled": (
        clip(condition("Ready", "False"), condition("Stalled", "True"), generation=2),
        Outcome.PROGRESSING,
        False,
    ),
    "no status at all is on the way": (build_object(), Outcome.PROGRESSING, False),
    "the CRD's default status is on the way": (
        build_object(status={"observedGeneration": -1}),
        Outcome.PROGRESSING,
        False,
    ),
}


@pytest.mark.parametrize(("obj", "outcome", "settled"), OUTCOMES.values(), ids=OUTCOMES)
def test_the_outcome_follows_ready(obj: Object, outcome: Outcome, settled: bool) -> None:  # noqa: FBT001 - a table
    overview = assess_overview(Found(obj), now=NOW)
    assert (overview.outcome, overview.is_settled) == (outcome, settled)


def test_one_that_is_being_deleted_is_not_ready() -> None:
    obj = clip(condition("Ready", "True"))
    obj["metadata"]["deletionTimestamp"] = "2026-11-22T11:59:00Z"
    assert assess_outcome(obj)[:2] == (Outcome.NOT_READY, "Deleting")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], StatusCode.READY),
        ([Outcome.READY, Outcome.READY], StatusCode.READY),
        ([Outcome.READY, Outcome.PROGRESSING], StatusCode.PROGRESSING),
        ([Outcome.PROGRESSING, Outcome.NOT_READY, Outcome.READY], StatusCode.NOT_READY),
    ],
)
def test_of_several_the_worst_counts(outcomes: list[Outcome], expected: StatusCode) -> None:
    assert worst(outcomes).code is expected


@pytest.mark.parametrize(
    ("policy", "words", "chosen"),
    [
        (None, "latest 1", [3]),
        ({}, "latest 1", [3]),
        ({"latest": {"count": 2}}, "latest 2", [2, 3]),
        ({"all": {}}, "all", [1, 2, 3]),
        ({"specific": {"versions": [1, 2]}}, "specific 1, 2", [1, 2]),
    ],
)
def test_the_policy_is_told_and_chooses(policy: Object | None, words: str, chosen: list[int]) -> None:
    spec = build_spec(ONE, TWO, OTHER, **({} if policy is None else {"versionPolicy": policy}))
    overview = assess_overview(Found(build_object(spec)), now=NOW)
    assert describe_policy(spec) == words
    assert sorted(v.version for v in overview.versions if v.chosen) == chosen


def test_versions_are_those_of_spec_and_status_newest_first() -> None:
    told = [{"version": 7, "state": "Retired", "sha256": "7" * 64, "bytes": 5}, {"version": 1, "state": "Novel"}]
    obj = build_object(build_spec(ONE, TWO), status={"versions": told})
    states = [(v.version, v.state) for v in assess_overview(Found(obj), now=NOW).versions]
    # A state that this release does not know is shown all the same.
    assert states == [(7, "Retired"), (2, "Pending"), (1, "Novel")]


def sync_pod(version: int, name: str) -> Object:
    pod = build_sync_pod(name)
    pod["spec"] = {"containers": [{"args": ["--volume=/volume", f"--version={version}"]}]}
    return pod


def test_progress_goes_to_the_version_that_the_job_works_for() -> None:
    logs = {"a": "fetching x: 50 % 5 B of 10 B 1 B/s", "b": "checking the model's tensors"}
    found = Found(build_object(build_spec(ONE, TWO)), [sync_pod(2, "a"), sync_pod(1, "b")], logs=logs)
    versions = {v.version: v.progress for v in assess_overview(found, now=NOW).versions}
    assert versions[2] is not None
    assert versions[2].percent == 50
    assert versions[1] is not None
    assert versions[1].step == "checking the model's tensors"


def stats(*versions: tuple[int, int, int]) -> str:
    entries = [
        {"name": "clip", "version": str(v), "inference_stats": {"success": {"count": good}, "fail": {"count": bad}}}
        for v, good, bad in versions
    ]
    return json.dumps({"model_stats": entries})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (stats((2, 5, 1), (1, 7, 0)), (Loaded(1, 7, 0), Loaded(2, 5, 1))),
        (stats(), ()),
        (None, None),
        ("", None),
        ("<html>", None),
        ('{"error": "Request for unknown model"}', None),
        ("[]", None),
    ],
)
def test_what_triton_has_loaded_is_read_from_its_statistics(answer: str | None, expected: Any) -> None:
    assert read_loaded(answer) == expected


def test_pods_tell_what_keeps_them() -> None:
    pods = [
        build_server_pod("clip-1"),
        build_server_pod("clip-0", waiting={"reason": "CrashLoopBackOff"}, last_log="E: out of memory"),
        build_server_pod("clip-2", is_ending=True),
        build_sync_pod("not-a-server"),
    ]
    pods[0]["status"]["containerStatuses"][0]["restartCount"] = 2
    shown = assess_overview(Found(build_object(), pods, stats={"clip-1": stats((1, 3, 0))}), now=NOW).pods
    assert [(p.name, p.phase, p.ready, p.restarts) for p in shown] == [
        ("clip-0", "CrashLoopBackOff", False, 0),
        ("clip-1", "Running", True, 2),
        ("clip-2", "Terminating", False, 0),
    ]
    assert shown[0].trouble is not None
    assert "out of memory" in shown[0].trouble
    assert shown[1].loaded == (Loaded(1, 3, 0),)


R1, R2 = "1a" * 16, "2b" * 16
WAITING = {
    "provenRevision": R1,
    "targetRevision": R2,
    "phase": "Waiting",
    "tries": 2,
    "notBefore": "2026-11-22T12:04:00Z",
    "reason": "Triton refuses the configuration.",
}


def rollout_of(rollout: Object | None, *, generation: int = 1, **spec: Any) -> Any:
    status = {} if rollout is None else {"rollout": rollout, "observedGeneration": 1}
    obj = build_object(build_spec(**spec), generation=generation, status=status)
    return assess_overview(Found(obj), now=NOW).rollout


def test_the_next_try_is_told_as_a_time_and_as_how_long_that_is() -> None:
    rollout = rollout_of(WAITING)
    assert (rollout.proven_revision, rollout.target_revision, rollout.phase, rollout.tries) == (R1, R2, "Waiting", 2)
    assert (rollout.not_before, rollout.due_s) == ("2026-11-22T12:04:00Z", 240)
    assert rollout.reason == WAITING["reason"]


RETRY = 'kubectl annotate -n demo clip clip clipmodel.dev/retry="$(date +%s)" --overwrite'
ADVICE: dict[str, tuple[Object, Object, str | None]] = {
    "one that waits is tried at once": (WAITING, {}, f"To have it tried at once: {RETRY}"),
    "one that is given up": (
        {k: v for k, v in WAITING.items() if k != "notBefore"},
        {},
        f"It is not tried again by itself. Correct the spec; or, where the cause is mended outside of it: {RETRY}",
    ),
    "one that is given up, as another release says it": (
        {"provenRevision": R1, "targetRevision": R2, "reason": "other embeddings"},
        {},
        f"It is not tried again by itself. Correct the spec; or, where the cause is mended outside of it: {RETRY}",
    ),
    "paused": (WAITING, {"paused": True}, "Nothing is tried while spec.paused is true."),
    "under way": (WAITING | {"phase": "Proving"}, {}, None),
    "not begun": ({"provenRevision": R1, "targetRevision": R2}, {}, None),
    "at rest": ({"provenRevision": R1, "targetRevision": R1}, {}, None),
    "at rest and paused": ({"provenRevision": R1, "targetRevision": R1}, {"paused": True}, None),
}


@pytest.mark.parametrize(("rollout", "spec", "advice"), ADVICE.values(), ids=ADVICE)
def test_there_is_advice_where_waiting_is_not_all(rollout: Object, spec: Object, advice: str | None) -> None:
    assert rollout_of(rollout, **spec).advice == advice


@pytest.mark.parametrize(
    ("rollout", "is_at_rest"),
    [
        ({"provenRevision": R1, "targetRevision": R1}, True),
        ({"provenRevision": R1, "targetRevision": R1, "phase": "Returning"}, False),
        ({"provenRevision": R1, "targetRevision": R2}, False),
        ({"targetRevision": R2}, False),
        ({"phase": "Trial"}, False),
    ],
)
def test_at_rest_the_target_is_proven(rollout: Object, is_at_rest: bool) -> None:  # noqa: FBT001 - a table
    assert rollout_of(rollout).is_at_rest is is_at_rest


def test_of_an_earlier_spec_there_is_no_advice() -> None:
    assert rollout_of(WAITING).is_current
    stale = rollout_of(WAITING, generation=2)
    assert (stale.is_current, stale.advice) == (False, None)


def test_what_a_status_cannot_say_is_none() -> None:
    assert rollout_of(None) is None, "an older operator, or before the first sync"
    odd = rollout_of({"targetRevision": R2, "phase": "Pondering", "notBefore": "soon"})
    # A phase that this release does not know is shown all the same.
    assert (odd.phase, odd.due_s, odd.proven_revision) == ("Pondering", None, None)


def test_pods_tell_which_revision_they_run() -> None:
    told = [{"name": "clip-0", "revision": R1, "ready": True}, {"name": "clip-1", "ready": False}]
    pods = [build_server_pod(name) for name in ("clip-0", "clip-1", "clip-2")]
    shown = assess_overview(Found(build_object(status={"pods": told}), pods), now=NOW).pods
    assert [(p.name, p.revision) for p in shown] == [("clip-0", R1), ("clip-1", None), ("clip-2", None)]


def test_the_strategy_is_told_also_where_the_crd_has_no_default_for_it() -> None:
    assert assess_overview(Found(build_object()), now=NOW).strategy == "InPlace"
    spec = build_spec(rollout={"strategy": "Replace"})
    assert assess_overview(Found(build_object(spec)), now=NOW).strategy == "Replace"


def event(name: str, seconds: int, **fields: Any) -> Object:
    stamp = (NOW - timedelta(seconds=seconds)).isoformat()
    return {
        "metadata": {"name": name},
        "lastTimestamp": stamp,
        "reason": name,
        "message": "a\n b",
        "involvedObject": {"kind": "ClipModel", "name": "clip"},
        **fields,
    }


def test_events_are_in_order_of_their_last_time() -> None:
    series = event("Third", 900, series={"count": 4, "lastObservedTime": (NOW - timedelta(seconds=1)).isoformat()})
    pod = event("Second", 20, type="Warning", count=3, involvedObject={"kind": "Pod", "name": "clip-0"})
    events = assess_overview(Found(build_object(), events=[series, pod, event("First", 30)]), now=NOW).events
    assert [(e.reason, e.age_s, e.count, e.about) for e in events] == [
        ("First", 30, 1, ""),
        ("Second", 20, 3, "pod/clip-0"),
        ("Third", 1, 4, ""),
    ]
    assert events[0].message == "a b"
