"""What is remembered of attempts that failed: how often, when the next may begin, and what forgets it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract.report import Failure
from clipmodel_operator.models import reasons
from clipmodel_operator.models.attempt import Attempt, FailedAttempt, Phase, RolloutRecord
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.planning.failures import (
    LONGEST_WAIT,
    MAX_FAILURES,
    as_failure,
    count_tries,
    failing_versions,
    failure_of,
    is_blocked,
    left,
    make_failure,
    with_failure,
    with_near_deadlines,
    with_retry,
    without_failures_of,
)
from clipmodel_operator.rendering.revision import render_revision
from support.builders import NOW, SHA_1, SHA_2, SHA_OTHER, build_model, build_record, build_spec

SHAS = {1: SHA_1, 2: SHA_2, 3: SHA_OTHER}
FASTER = {"batching": {"maxQueueDelay": "1ms"}}


def revision(*versions: int, **fields: Any) -> Revision:
    return render_revision(build_model(build_spec(**fields)), {v: SHAS[v] for v in versions})


ONE, TWO, BOTH, FAST = revision(1), revision(2), revision(1, 2), revision(1, 2, **FASTER)
REJECTED, SILENT = reasons.SERVER_REJECTED, reasons.SERVER_SILENT


def fail(
    record: RolloutRecord = RolloutRecord(),  # noqa: B008 - it is frozen
    of: Revision = BOTH,
    *,
    reason: str = REJECTED,
    version: int | None = None,
    template: str = "t",
    message: str = "no",
    counted: int = 0,
) -> FailedAttempt:
    return make_failure(
        record,
        of,
        template=template,
        reason=reason,
        message=message,
        version=version,
        now=NOW,
        counted=counted,
    )


def remember(*failures: FailedAttempt) -> RolloutRecord:
    record = RolloutRecord()
    for failure in failures:
        record = with_failure(record, failure)
    return record


# How often, and when again.

#: Minutes until each next try; None where there is none.
TRIES: dict[str, list[int | None]] = {
    reasons.SERVER_REJECTED: [1, 4, 16, 60, None],
    reasons.SERVER_FAILED: [1, 4, 16, 60, None],
    reasons.SERVER_SILENT: [1, 2, 4, 8, 16, 32, *([60] * 30)],
    reasons.SERVER_KILLED: [1, None],
    reasons.OUT_OF_MEMORY: [None],
    reasons.GOLDEN_CHECK_FAILED: [None],
}


@pytest.mark.parametrize("reason", TRIES)
def test_when_it_is_tried_again(reason: str) -> None:
    record = RolloutRecord()
    for number, minutes in enumerate(TRIES[reason], start=1):
        failure = fail(record, reason=reason)
        record = with_failure(record, failure)
        assert failure.tries == number
        assert failure.is_final == (minutes is None)
        assert failure.not_before == (None if minutes is None else NOW + timedelta(minutes=minutes))
        assert record.failures == (failure,), "it stands in place of the one before"


def test_every_reason_that_a_server_gives_has_its_tries() -> None:
    of_servers = {v for k, v in vars(reasons).items() if k.startswith("SERVER_")}
    assert of_servers <= set(TRIES)


def test_a_failure_of_a_try_that_was_counted_is_no_further_one() -> None:
    record = remember(fail())
    assert fail(record).tries == 2
    assert fail(record, counted=1).tries == 1
    assert fail(counted=3).tries == 3, "the attempt knows its number, whatever was forgotten"


def test_tries_of_a_version_count_in_any_revision_of_the_same_settings() -> None:
    """Else each edit of the list of versions would begin anew with a version that kills the server."""
    record = remember(fail(of=BOTH, version=2))
    assert count_tries(record, TWO, template="t", version=2) == 1
    assert fail(record, TWO, version=2).tries == 2
    assert count_tries(record, TWO, template="t") == 0, "where no version is named it is another revision"
    assert count_tries(record, FAST, template="t", version=2) == 0, "other settings"
    assert count_tries(record, BOTH, template="other") == 0, "another template"
    assert count_tries(record, ONE, template="t", version=1) == 0, "another version"


def test_a_message_is_bounded() -> None:
    assert len(fail(message="x" * 5000).message) < 1000


# What it forbids.

AGAIN_S = 60
FORBIDS: dict[str, tuple[FailedAttempt, Revision | None, str, int, bool]] = {
    "it waits": (fail(), BOTH, "t", AGAIN_S - 1, True),
    "it has waited": (fail(), BOTH, "t", AGAIN_S, False),
    "it is final": (fail(reason=reasons.OUT_OF_MEMORY), BOTH, "t", 10**7, True),
    "of another revision": (fail(), TWO, "t", 0, False),
    "on another template": (fail(), BOTH, "other", 0, False),
    "there is no target": (fail(), None, "t", 0, False),
}


@pytest.mark.parametrize("name", FORBIDS)
def test_what_a_failure_forbids(name: str) -> None:
    failure, of, template, passed_s, does = FORBIDS[name]
    now = NOW + timedelta(seconds=passed_s)
    found = failure_of(remember(failure), of, template=template, now=now)
    assert found == (failure if does else None)


def test_how_long_a_failure_waits_yet() -> None:
    assert left(fail(), NOW) == timedelta(minutes=1)
    assert left(fail(), NOW + timedelta(hours=1)) == timedelta()
    assert left(fail(reason=reasons.OUT_OF_MEMORY), NOW) is None
    assert not is_blocked(replace(fail(), not_before=None), NOW), "of an earlier release, say: tried at once"


R1, R2 = build_record(), build_record(2, sha256=SHA_2)
VERSIONS: dict[str, tuple[FailedAttempt, str, str, int, list[int]]] = {
    "it is named": (fail(version=2), BOTH.settings, "t", 0, [2]),
    "none is named": (fail(), BOTH.settings, "t", 0, []),
    "it has waited": (fail(version=2), BOTH.settings, "t", AGAIN_S, []),
    "by other settings": (fail(version=2), FAST.settings, "t", 0, []),
    "on another template": (fail(version=2), BOTH.settings, "other", 0, []),
    "its number has other bytes by now": (replace(fail(version=2), sha256=SHA_OTHER), BOTH.settings, "t", 0, []),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_which_versions_are_left_out_where(name: str) -> None:
    failure, settings, template, passed_s, left_out = VERSIONS[name]
    now = NOW + timedelta(seconds=passed_s)
    found = failing_versions(remember(failure), [R1, R2], settings=settings, template=template, now=now)
    assert list(found) == left_out
    assert all(f == failure for f in found.values())


# What is remembered, and what is forgotten.


def test_a_failure_takes_the_place_of_the_one_of_the_same_version_in_another_revision() -> None:
    first = fail(of=BOTH, version=2)
    record = remember(first, fail(remember(first), TWO, version=2))
    assert [f.tries for f in record.failures] == [2]


def test_failures_of_other_versions_settings_and_templates_stand_beside_each_other() -> None:
    beside = [
        fail(of=ONE),
        fail(of=ONE, template="other"),
        fail(of=BOTH, version=2),
        fail(of=FAST, version=2),
        fail(of=TWO, version=2, template="other"),
    ]
    assert remember(*beside).failures == tuple(beside)


def test_as_many_are_remembered_as_a_spec_can_have_and_the_oldest_goes_first() -> None:
    several = [replace(fail(), revision=f"r{n}") for n in range(MAX_FAILURES + 2)]
    assert remember(*several).failures == tuple(several[2:])
    assert MAX_FAILURES == 64 + 16


def test_what_fails_again_is_the_latest() -> None:
    several = [replace(fail(), revision=f"r{n}") for n in range(3)]
    assert [f.revision for f in remember(*several, several[0]).failures] == ["r1", "r2", "r0"]


COMMITS: dict[str, tuple[FailedAttempt, Revision, bool]] = {
    "of the revision itself": (fail(of=BOTH), BOTH, True),
    "of it on another template": (fail(of=BOTH, template="other"), BOTH, True),
    "of one of its versions, in another revision": (fail(of=TWO, version=2), BOTH, True),
    "of one of its versions by other settings": (fail(of=FAST, version=2), BOTH, False),
    "of another revision": (fail(of=TWO), BOTH, False),
    "of a version that it does not have": (fail(of=TWO, version=2), ONE, False),
    "of other bytes under its number": (replace(fail(of=TWO, version=2), sha256=SHA_OTHER), BOTH, False),
}


@pytest.mark.parametrize("name", COMMITS)
def test_a_commit_forgets_what_failed(name: str) -> None:
    failure, committed, is_forgotten = COMMITS[name]
    assert (without_failures_of(remember(failure), committed).failures == ()) == is_forgotten


@pytest.mark.parametrize(
    ("asked", "before", "is_forgotten"),
    [
        pytest.param("", "", False, id="no annotation"),
        pytest.param("", "1", False, id="the annotation is taken away"),
        pytest.param("1", "1", False, id="the same value as before"),
        pytest.param("2", "1", True, id="another value"),
        pytest.param("1", "", True, id="the first value"),
    ],
)
def test_a_user_has_all_failures_forgotten(asked: str, before: str, is_forgotten: bool) -> None:  # noqa: FBT001 - a row
    attempt = Attempt(TWO, Phase.PROVING)
    record = RolloutRecord(attempt, (fail(reason=reasons.OUT_OF_MEMORY),), before)
    found = with_retry(record, asked)
    assert (found.failures == ()) == is_forgotten
    assert found.attempt == attempt, "what is under way goes on"
    assert found.retry == (asked if is_forgotten else before)


@given(st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)))
def test_a_clock_that_was_wrong_blocks_for_an_hour_at_most(wrong: timedelta) -> None:
    failure = replace(fail(), not_before=NOW + wrong)
    (found,) = with_near_deadlines(remember(failure), NOW).failures
    assert found.not_before is not None
    assert found.not_before <= NOW + LONGEST_WAIT
    assert found.not_before == failure.not_before or wrong > LONGEST_WAIT


def test_what_is_final_has_no_time_to_be_cut() -> None:
    record = remember(fail(reason=reasons.OUT_OF_MEMORY))
    assert with_near_deadlines(record, NOW) == record


# In a person's words.


def test_a_failure_says_when_it_is_tried_again() -> None:
    assert as_failure(fail(version=2)) == Failure(
        REJECTED, "no. Tried again at 12:01 UTC (try 2).", is_final=False, version=2
    )
    assert as_failure(fail(message="It cannot.")).message == "It cannot. Tried again at 12:01 UTC (try 2)."
    assert as_failure(fail(reason=reasons.OUT_OF_MEMORY)).message == "no"


def test_when_it_is_tried_again_is_said_however_long_the_rest_is() -> None:
    message = as_failure(fail(message="x" * 5000)).message
    assert len(message) <= 255
    assert message.endswith("Tried again at 12:01 UTC (try 2).")
