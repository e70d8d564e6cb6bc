"""How far a version's sync is: from its committed record, its Job, and the reports that the Job's pods left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from clipmodel_contract.reasons import AT_SOURCE
from clipmodel_contract.report import Failure, VersionRecord, parse_report
from clipmodel_operator.api.v1alpha1.spec import ModelVersion
from clipmodel_operator.assessment.pods import find_trouble
from clipmodel_operator.models import reasons
from clipmodel_operator.models.version import SyncPhase, Version

#: When all of a Job's own tries are used up, the next Job comes after this long.
RETRY_EXHAUSTED_AFTER = timedelta(minutes=5)
#: A person must act, but may do so at the source, which tells us nothing: a look now and then, so that no spec must change for it.
LOOK_AGAIN_AT_SOURCE_AFTER = timedelta(minutes=10)


def _reports(pods: Sequence[Mapping[str, Any]]) -> list[VersionRecord | Failure]:
    """Read what the pods reported, oldest first. A pod that was killed before it could says nothing."""
    reports = []
    for pod in sorted(pods, key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"])):
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            message = (container.get("state", {}).get("terminated") or {}).get("message")
            if message:
                try:
                    reports.append(parse_report(message))
                except ValueError:
                    continue
    return reports


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] == kind and condition["status"] == "True":
            found: Mapping[str, Any] = condition
            return found
    return None


def assess_sync(
    version: ModelVersion,
    *,
    committed: Sequence[VersionRecord],
    job: Mapping[str, Any] | None,
    pods: Sequence[Mapping[str, Any]],
    now: datetime,
) -> Version:
    """Say how far `version` is. `job` is the Job of exactly this version and source, `pods` are that Job's."""
    number = version.version
    for record in committed:
        if record.version == number and record.sha256 == version.source.sha256:
            return Version(number, SyncPhase.DONE, record=record)
    if job is None:
        return Version(number, SyncPhase.NO_JOB, "a sync Job is being created")
    reports = _reports(pods)
    for report in reports:
        if isinstance(report, VersionRecord) and report.sha256 == version.source.sha256:
            return Version(number, SyncPhase.DONE, record=report)
    failure = next((r for r in reversed(reports) if isinstance(r, Failure)), None)
    if failure is not None and failure.is_final:
        return _assess_final(number, job=job, failure=failure, now=now)
    return _assess_unfinished(number, job=job, pods=pods, failure=failure, now=now)


def _minutes(delay: timedelta) -> int:
    return int(delay.total_seconds() // 60)


def _left_s(failed: Mapping[str, Any], delay: timedelta, now: datetime) -> float:
    """Give the seconds that are left of a delay that began when the Job failed."""
    return (datetime.fromisoformat(str(failed["lastTransitionTime"])) + delay - now).total_seconds()


def _assess_final(number: int, *, job: Mapping[str, Any], failure: Failure, now: datetime) -> Version:
    """The same bytes are not tried again until the spec changes; a source that had none is."""
    failed = _condition(job, "Failed")
    if failed is None or failure.reason not in AT_SOURCE:
        return Version(number, SyncPhase.FAILED, failure=failure)
    left = _left_s(failed, LOOK_AGAIN_AT_SOURCE_AFTER, now)
    if left <= 0:
        return Version(number, SyncPhase.START_OVER, "looking at the source again")
    message = f"{failure.message} Looked at again every {_minutes(LOOK_AGAIN_AT_SOURCE_AFTER)} minutes."
    return Version(number, SyncPhase.FAILED, failure=replace(failure, message=message), retry_after_s=left)


def _assess_unfinished(
    number: int,
    *,
    job: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    failure: Failure | None,
    now: datetime,
) -> Version:
    name = job["metadata"]["name"]
    if _condition(job, "Complete"):
        return Version(number, SyncPhase.START_OVER, "the sync Job's report is lost; reading it again from the volume")
    failed = _condition(job, "Failed")
    if failed is not None:
        left = _left_s(failed, RETRY_EXHAUSTED_AFTER, now)
        if left <= 0:
            return Version(number, SyncPhase.START_OVER, "trying again with a new sync Job")
        told = failure.message if failure else f"sync Job {name} failed: {failed.get('message', '')}"
        message = f"{told} Trying again every {_minutes(RETRY_EXHAUSTED_AFTER)} minutes."
        return Version(number, SyncPhase.RETRYING, failure=_retried(number, failure, message), retry_after_s=left)
    if failure is not None:
        return Version(
            number, SyncPhase.RETRYING, failure=_retried(number, failure, f"{failure.message} Trying again.")
        )
    trouble = next((t for t in map(find_trouble, pods) if t), None)
    if trouble:
        return Version(number, SyncPhase.RUNNING, f"sync Job waits: {trouble}")
    return Version(number, SyncPhase.RUNNING, f"Job {name} fetches and proves it")


def _retried(number: int, failure: Failure | None, message: str) -> Failure:
    """Give the failure of a try that is followed by another; a pod that was killed reported none."""
    reason = failure.reason if failure else reasons.SYNC_FAILED
    return Failure(reason, message, is_final=False, version=number)
