"""What is remembered of attempts that failed: what may be tried, and when. A commit forgets, and the user's annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from clipmodel_contract.report import Failure, VersionRecord, clip
from clipmodel_operator.models import reasons
from clipmodel_operator.models.attempt import FailedAttempt, RolloutRecord
from clipmodel_operator.models.revision import Revision

#: A clock that was wrong once must not block for years.
LONGEST_WAIT = timedelta(hours=1)
_FIRST_WAIT_S = 60.0
#: Triton answers 400 to what never loads, and to what a file system or a GPU did not give just now.
REFUSALS = 5
#: A container may end for many reasons; the same moment twice is none.
KILLS = 2
#: One for each version that a spec can have, and some for configurations: to forget one would be to try it again.
MAX_FAILURES = 80


def with_retry(record: RolloutRecord, asked: str) -> RolloutRecord:
    """Forget failures where the user asks for it by another value of the annotation than before."""
    return record if asked in {"", record.retry} else replace(record, failures=(), retry=asked)


def with_near_deadlines(record: RolloutRecord, now: datetime) -> RolloutRecord:
    """Cut a next try that is further away than any that we would set: a clock was wrong."""
    latest = now + LONGEST_WAIT
    cut = [replace(f, not_before=min(f.not_before, latest)) if f.not_before else f for f in record.failures]
    return replace(record, failures=tuple(cut))


def left(failure: FailedAttempt, now: datetime) -> timedelta | None:
    """Give how long a failure still forbids the next try; None for ever, zero not any more."""
    if failure.is_final:
        return None
    return max((failure.not_before or now) - now, timedelta())


def is_blocked(failure: FailedAttempt, now: datetime) -> bool:
    wait = left(failure, now)
    return wait is None or wait > timedelta()


def failure_of(
    record: RolloutRecord, revision: Revision | None, *, template: str, now: datetime
) -> FailedAttempt | None:
    """Give the failure that forbids to try a revision now: its own, or one of a version in it, by the same settings."""
    if revision is None:
        return None
    found = [f for f in record.failures if f.template == template and (f.revision == revision.id or is_in(f, revision))]
    return next((f for f in found if is_blocked(f, now)), None)


def is_in(failure: FailedAttempt, revision: Revision) -> bool:
    """Tell whether a failure is of a version that a revision has, by its settings."""
    version = failure.version
    is_version = version is not None and revision.digests.get(version) == failure.sha256
    return is_version and failure.settings == revision.settings


def failing_versions(
    record: RolloutRecord, records: Sequence[VersionRecord], *, settings: str, template: str, now: datetime
) -> dict[int, FailedAttempt]:
    """Give the failures that forbid to serve single versions by the present settings."""
    by_version = {(r.version, r.sha256) for r in records}
    return {
        f.version: f
        for f in record.failures
        if f.version is not None
        and (f.version, f.sha256) in by_version
        and (f.settings, f.template) == (settings, template)
        and is_blocked(f, now)
    }


def as_failure(failure: FailedAttempt) -> Failure:
    """Say a failure as status does."""
    message = failure.message
    if not failure.is_final and failure.not_before is not None:
        when = f". Tried again at {failure.not_before:%H:%M} UTC (try {failure.tries + 1})."
        message = clip(message[: 255 - len(when)]).rstrip(".") + when
    return Failure(failure.reason, message, failure.is_final, version=failure.version)


def count_tries(record: RolloutRecord, revision: Revision, *, template: str, version: int | None = None) -> int:
    """Count how often a revision, or a version by its settings, has failed."""
    sha256 = revision.digests.get(version) if version is not None else None
    return max(
        (
            f.tries
            for f in record.failures
            if f.template == template
            and (
                f.revision == revision.id
                or (version is not None and (f.version, f.sha256, f.settings) == (version, sha256, revision.settings))
            )
        ),
        default=0,
    )


def make_failure(  # what it is of, and how it came about
    record: RolloutRecord,
    revision: Revision,
    *,
    template: str,
    reason: str,
    message: str,
    version: int | None,
    now: datetime,
    counted: int = 0,
) -> FailedAttempt:
    """Describe the failure of a try, with when the next may begin. `counted`: the number of the try, where it is known to have failed already."""
    before = count_tries(record, revision, template=template, version=version)
    tries = max(before, counted) if counted else before + 1
    is_final = {
        reasons.SERVER_REJECTED: tries >= REFUSALS,
        reasons.SERVER_FAILED: tries >= REFUSALS,
        reasons.SERVER_KILLED: tries >= KILLS,
        reasons.SERVER_SILENT: False,
    }.get(reason, True)
    growth = 2.0 if reason == reasons.SERVER_SILENT else 4.0
    wait_s = min(_FIRST_WAIT_S * growth ** min(tries - 1, 16), LONGEST_WAIT.total_seconds())
    return FailedAttempt(
        revision=revision.id,
        template=template,
        settings=revision.settings,
        reason=reason,
        message=clip(message),
        is_final=is_final,
        tries=tries,
        not_before=None if is_final else (now + timedelta(seconds=wait_s)).replace(microsecond=0),
        version=version,
        sha256=revision.digests.get(version) if version is not None else None,
    )


def with_failure(record: RolloutRecord, failure: FailedAttempt) -> RolloutRecord:
    """Remember a failure, in place of what was remembered of the same."""
    others = [
        f
        for f in record.failures
        if (f.revision, f.template) != (failure.revision, failure.template)
        and (
            failure.version is None
            or (f.version, f.sha256, f.settings, f.template)
            != (failure.version, failure.sha256, failure.settings, failure.template)
        )
    ]
    return replace(record, failures=(*others[-(MAX_FAILURES - 1) :], failure))


def without_failures_of(record: RolloutRecord, revision: Revision) -> RolloutRecord:
    """Forget what failed of a revision that has been proven, and of its versions by its settings."""

    def is_of(failure: FailedAttempt) -> bool:
        return failure.revision == revision.id or is_in(failure, revision)

    return replace(record, failures=tuple(f for f in record.failures if not is_of(f)))
