"""Events tell changes, each once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.status import ClipModelStatus, Condition, VersionState, VersionStatus
from clipmodel_operator.assessment.events import plan_events, plan_rolling_event
from clipmodel_operator.models.event import Event
from clipmodel_operator.models.update_strategy import UpdateStrategy


def status(
    *conditions: tuple[str, str, str], state: VersionState = VersionState.PENDING, message: str = "m"
) -> ClipModelStatus:
    return ClipModelStatus(
        conditions=[
            Condition(
                type=t,
                status=s,
                reason=r,
                message=message,
                last_transition_time="2026-11-22T12:00:00Z",
                observed_generation=1,
            )
            for t, s, r in conditions
        ],
        versions=[VersionStatus(version=1, state=state)],
    )


NOTHING = ClipModelStatus()
PENDING = status(("Ready", "Unknown", "SyncPending"), ("Synced", "Unknown", "SyncPending"))
SYNCING = status(("Ready", "Unknown", "Syncing"), ("Synced", "Unknown", "Syncing"), state=VersionState.SYNCING)
SYNCED = status(("Ready", "Unknown", "PodsNotReady"), ("Synced", "True", "VersionSynced"), state=VersionState.SYNCED)
SERVING = status(("Ready", "True", "Serving"), ("Synced", "True", "VersionSynced"), state=VersionState.SERVING)
WRONG = status(("Ready", "False", "DigestMismatch"), ("Synced", "False", "DigestMismatch"), state=VersionState.FAILED)
AWAY = status(("Ready", "False", "ApiUnavailable"), ("Synced", "True", "VersionSynced"), state=VersionState.SERVING)
ZERO = status(("Ready", "False", "ScaledToZero"), ("Synced", "True", "VersionSynced"), state=VersionState.SYNCED)

CASES = {
    "a Job is about to be made: nothing to tell": (NOTHING, PENDING, []),
    "a sync begins": (PENDING, SYNCING, ["Normal Syncing"]),
    "a sync ends well": (SYNCING, SYNCED, ["Normal VersionSynced"]),
    "it serves": (SYNCED, SERVING, ["Normal Serving"]),
    "the digest is wrong, told once though two conditions say it": (SYNCING, WRONG, ["Warning DigestMismatch"]),
    "the API server went away": (SERVING, AWAY, ["Warning ApiUnavailable"]),
    "it is back": (AWAY, SERVING, ["Normal Serving"]),
    "scaled to zero is no warning": (SERVING, ZERO, ["Normal ScaledToZero"]),
    "a status of its own accord": (NOTHING, SERVING, ["Normal VersionSynced", "Normal Serving"]),
}


def told(events: tuple[Event, ...]) -> list[str]:
    return [f"{'Warning' if e.is_warning else 'Normal'} {e.reason}" for e in events]


@pytest.mark.parametrize("name", CASES)
def test_what_is_told_when(name: str) -> None:
    before, after, expected = CASES[name]
    assert told(plan_events(before, after)) == expected


def test_what_stays_is_not_told_again() -> None:
    for one in (PENDING, SYNCING, SYNCED, SERVING, WRONG, AWAY, ZERO):
        assert plan_events(one, one) == ()


def test_another_message_is_no_news() -> None:
    assert (
        plan_events(SERVING, status(("Ready", "True", "Serving"), ("Synced", "True", "VersionSynced"), message="other"))
        == ()
    )


def test_no_change_tells_a_reason_twice() -> None:
    for before, after in itertools.permutations((NOTHING, PENDING, SYNCING, SYNCED, SERVING, WRONG, AWAY, ZERO), 2):
        reasons = [e.reason for e in plan_events(before, after)]
        assert len(reasons) == len(set(reasons))


def deployment(*, template: str = "a", replicas: int = 2, max_surge: int = 1, updated: int = 2) -> dict[str, Any]:
    return {
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": max_surge}},
            "template": {"image": template},
        },
        "status": {"replicas": 2, "updatedReplicas": updated},
    }


SURGE = UpdateStrategy(has_surge=True, why="the volume is ReadWriteMany")
IN_TURN = UpdateStrategy(has_surge=False, why="claim mine is ReadWriteOnce")


def test_a_roll_is_told_with_how_and_why() -> None:
    event = plan_rolling_event(deployment(), deployment(template="b"), SURGE)
    assert event == Event(
        is_warning=False,
        reason="RollingUpdate",
        message="Pods are replaced one at a time, each new pod is ready before an old one goes (maxSurge 1, maxUnavailable 0): "
        "the volume is ReadWriteMany.",
    )


def test_a_roll_that_leaves_a_gap_is_a_warning() -> None:
    event = plan_rolling_event(deployment(replicas=1), deployment(replicas=1, template="b"), IN_TURN)
    assert event == Event(
        is_warning=True,
        reason="RollingUpdate",
        message="Pods are replaced one at a time, an old pod goes before a new one starts (maxSurge 0, maxUnavailable 1): "
        "claim mine is ReadWriteOnce. With one replica, that is a gap in service.",
    )


def test_a_roll_that_goes_on_in_another_way_is_told() -> None:
    before, after = deployment(updated=1), deployment(updated=1, max_surge=0)
    event = plan_rolling_event(before, after, IN_TURN)
    assert event is not None
    assert "maxSurge 0" in event.message


def test_what_replaces_no_pod_is_not_told() -> None:
    assert plan_rolling_event(None, deployment(), SURGE) is None
    assert plan_rolling_event(deployment(), deployment(replicas=3), SURGE) is None
    assert plan_rolling_event(deployment(max_surge=0), deployment(max_surge=1), SURGE) is None
    assert plan_rolling_event(deployment(replicas=0), deployment(replicas=0, template="b"), SURGE) is None


def test_a_long_reason_is_cut_and_not_the_gap() -> None:
    long = UpdateStrategy(has_surge=False, why="no room " * 200)
    event = plan_rolling_event(deployment(replicas=1), deployment(replicas=1, template="b"), long)
    assert event is not None
    assert len(event.message) <= 1000
    assert event.message.endswith("that is a gap in service.")
