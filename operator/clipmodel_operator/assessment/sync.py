"""How far a version's sync is: from its committed record, its Job, and the reports that the Job's pods left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from clipmodel_contract.reasons import AT_SOURCE
from clipmodel_contract.report import Failure, VersionRecord, parse_report
from clipmodel_operator.assessment.pods import find_trouble
from clipmodel_operator.models.api import ModelVersion

#: When all of a Job's own tries are used up, the next Job comes after this long.
RETRY_EXHAUSTED_AFTER = timedelta(minutes=5)
#: A person must act, but may do so at the source, which tells us nothing: a look now and then, so that no spec must change for it.
LOOK_AGAIN_AT_SOURCE_AFTER = timedelta(minutes=10)


class SyncPhase(StrEnum):
    """How far it is."""

    DONE = "Done"
    NO_JOB = "NoJob"
    RUNNING = "Running"
    RETRYING = "Retrying"
    """A try failed in a way that waiting can mend; the Job, or a next one, tries again."""
    FAILED = "Failed"
    """A person must act."""
    START_OVER = "StartOver"
    """The Job ended and can tell nothing, or has waited out its failure: it is deleted, and the next pass makes it again."""


@dataclass(frozen=True, slots=True)
class SyncAssessment:
    """How far one version is. `record` is there exactly when the phase is DONE; `failure` when a try failed."""

    version: ModelVersion
    phase: SyncPhase
    message: str
    record: VersionRecord | None = None
    failure: Failure | None = None
    retry_after_s: float | None = None


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
) -> SyncAssessment:
    """Say how far `version` is. `job` is the Job of exactly this version and source, `pods` are that Job's."""
    for record in committed:
        if record.version == version.version and record.sha256 == version.source.sha256:
            return SyncAssessment(version, SyncPhase.DONE, "on the volume", record=record)
    if job is None:
        return SyncAssessment(version, SyncPhase.NO_JOB, "a sync Job is being created")
    reports = _reports(pods)
    for report in reports:
        if isinstance(report, VersionRecord) and report.sha256 == version.source.sha256:
            return SyncAssessment(version, SyncPhase.DONE, "on the volume", record=report)
    failure = next((r for r in reversed(reports) if isinstance(r, Failure)), None)
    return _assess_unfinished(version, job=job, pods=pods, failure=failure, now=now)


def _minutes(delay: timedelta) -> int:
    return int(delay.total_seconds() // 60)


def _left_s(failed: Mapping[str, Any], delay: timedelta, now: datetime) -> float:
    """Give the seconds that are left of a delay that began when the Job failed."""
    return (datetime.fromisoformat(str(failed["lastTransitionTime"])) + delay - now).total_seconds()


def _assess_final(version: ModelVersion, *, job: Mapping[str, Any], failure: Failure, now: datetime) -> SyncAssessment:
    """The same bytes are not tried again until the spec changes; a source that had none is."""
    failed = _condition(job, "Failed")
    if failed is None or failure.reason not in AT_SOURCE:
        return SyncAssessment(version, SyncPhase.FAILED, failure.message, failure=failure)
    left = _left_s(failed, LOOK_AGAIN_AT_SOURCE_AFTER, now)
    if left <= 0:
        return SyncAssessment(version, SyncPhase.START_OVER, "looking at the source again", failure=failure)
    message = f"{failure.message} Looked at again every {_minutes(LOOK_AGAIN_AT_SOURCE_AFTER)} minutes."
    return SyncAssessment(version, SyncPhase.FAILED, message, failure=failure, retry_after_s=left)


def _assess_unfinished(
    version: ModelVersion,
    *,
    job: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    failure: Failure | None,
    now: datetime,
) -> SyncAssessment:
    if failure is not None and failure.is_final:
        return _assess_final(version, job=job, failure=failure, now=now)
    if _condition(job, "Complete"):
        return SyncAssessment(
            version, SyncPhase.START_OVER, "the sync Job's report is lost; reading it again from the volume"
        )
    failed = _condition(job, "Failed")
    if failed is not None:
        left = _left_s(failed, RETRY_EXHAUSTED_AFTER, now)
        if left <= 0:
            return SyncAssessment(version, SyncPhase.START_OVER, "trying again with a new sync Job", failure=failure)
        told = failure.message if failure else f"sync Job {job['metadata']['name']} failed: {failed.get('message', '')}"
        return SyncAssessment(
            version,
            SyncPhase.RETRYING,
            f"{told} Trying again every {_minutes(RETRY_EXHAUSTED_AFTER)} minutes.",
            failure=failure,
            retry_after_s=left,
        )
    if failure is not None:
        return SyncAssessment(version, SyncPhase.RETRYING, f"{failure.message} Trying again.", failure=failure)
    trouble = next((t for t in map(find_trouble, pods) if t), None)
    if trouble:
        return SyncAssessment(version, SyncPhase.RUNNING, f"sync Job waits: {trouble}")
    return SyncAssessment(version, SyncPhase.RUNNING, f"Job {job['metadata']['name']} fetches and proves it")
