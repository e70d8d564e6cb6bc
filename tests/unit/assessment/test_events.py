"""Events tell changes, each once."""

from __future__ import annotations

import itertools

import pytest

from clipmodel_operator.assessment.events import Event, plan_events
from clipmodel_operator.models.api import ClipModelStatus, Condition, VersionState, VersionStatus


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
