"""How far a sync is: from what is committed, the Job, and what its pods left behind."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.spec import ModelVersion
from clipmodel_operator.assessment.sync import assess_sync
from clipmodel_operator.models.version import SyncPhase
from support.builders import NOW, ONE, SHA_2, build_failure, build_job, build_record, build_report, build_sync_pod

VERSION = ModelVersion.model_validate(ONE)
NOW_TEXT, LONG_AGO = "2026-11-22T12:00:00Z", "2026-11-22T11:00:00Z"
RETRY = build_failure("SourceUnavailable", result="Retry", message="The host is away.")
WRONG = build_failure("DigestMismatch")
NOT_FOUND = build_failure("SourceNotFound", message="There is no file.")


def pods(*reports: str) -> list[dict[str, Any]]:
    return [build_sync_pod(f"job-{i}", report=r, created=f"2026-11-22T11:0{i}:00Z") for i, r in enumerate(reports)]


CASES: dict[str, tuple[dict[str, Any], SyncPhase, str]] = {
    "no Job was made yet": ({"job": None}, SyncPhase.NO_JOB, "is being created"),
    "it is committed": ({"committed": [build_record()], "job": None}, SyncPhase.DONE, ""),
    "other bytes of the version are committed": ({"committed": [build_record(sha256=SHA_2)], "job": None}, SyncPhase.NO_JOB, ""),
    "another version is committed": ({"committed": [build_record(2)], "job": None}, SyncPhase.NO_JOB, ""),
    "the Job has no pod yet": ({}, SyncPhase.RUNNING, "Job job fetches"),
    "its pod runs": ({"pods": [build_sync_pod()]}, SyncPhase.RUNNING, "Job job fetches"),
    "its pod cannot pull the image": ({"pods": [build_sync_pod(waiting={"reason": "ErrImagePull", "message": "not found"})]}, SyncPhase.RUNNING, "sync Job waits: pod job-a: ErrImagePull: not found"),
    "its pod reported": ({"pods": pods(build_report())}, SyncPhase.DONE, ""),
    "its pod reported other bytes": ({"pods": pods(build_report(sha256=SHA_2))}, SyncPhase.RUNNING, ""),
    "its pod reported and the Job is complete": ({"pods": pods(build_report()), "job": build_job(complete=True)}, SyncPhase.DONE, ""),
    "the Job is complete and the report is lost": ({"job": build_job(complete=True)}, SyncPhase.START_OVER, "report is lost"),
    "the report cannot be read": ({"pods": pods("Killed"), "job": build_job(complete=True)}, SyncPhase.START_OVER, ""),
    "a try failed": ({"pods": pods(RETRY)}, SyncPhase.RETRYING, "The host is away. Trying again."),
    "a try failed and the next one succeeded": ({"pods": pods(RETRY, build_report())}, SyncPhase.DONE, ""),
    "a person must act": ({"pods": pods(WRONG)}, SyncPhase.FAILED, "mend it"),
    "first away, then wrong": ({"pods": pods(RETRY, WRONG)}, SyncPhase.FAILED, ""),
    "all tries failed just now": ({"pods": pods(RETRY), "job": build_job(failed_at=NOW_TEXT)}, SyncPhase.RETRYING, "The host is away. Trying again every 5 minutes."),
    "all tries failed without a word": ({"job": build_job(failed_at=NOW_TEXT)}, SyncPhase.RETRYING, "sync Job job failed: Job has reached the specified backoff limit"),
    "all tries failed long ago": ({"pods": pods(RETRY), "job": build_job(failed_at=LONG_AGO)}, SyncPhase.START_OVER, "trying again with a new sync Job"),
    "the digest was wrong long ago": ({"pods": pods(WRONG), "job": build_job(failed_at=LONG_AGO)}, SyncPhase.FAILED, "mend it"),
    "there is no file since just now": ({"pods": pods(NOT_FOUND), "job": build_job(failed_at=NOW_TEXT)}, SyncPhase.FAILED, "There is no file. Looked at again every 10 minutes."),
    "there was no file long ago": ({"pods": pods(NOT_FOUND), "job": build_job(failed_at=LONG_AGO)}, SyncPhase.START_OVER, "looking at the source again"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_how_far_it_is_when(name: str) -> None:
    given, phase, said = CASES[name]
    found = assess_sync(VERSION, **{"committed": [], "job": build_job(), "pods": [], "now": NOW, **given})
    assert found.phase is phase
    assert said in (found.failure.message if found.failure else found.progress)
    assert (found.failure is not None) == (phase in {SyncPhase.FAILED, SyncPhase.RETRYING})
    assert (found.record is not None) == (phase is SyncPhase.DONE)


def test_the_order_of_pods_is_that_of_their_making() -> None:
    late, early = build_sync_pod("a", report=WRONG, created="2026-11-22T11:09:00Z"), build_sync_pod("b", report=RETRY)
    found = assess_sync(VERSION, committed=[], job=build_job(), pods=[late, early], now=NOW)
    assert found.phase is SyncPhase.FAILED


@pytest.mark.parametrize(("report", "wait"), [(RETRY, 300), (NOT_FOUND, 600)])
def test_it_waits_out_its_time_to_the_second(report: str, wait: int) -> None:
    job = build_job(failed_at=NOW_TEXT)
    before = assess_sync(VERSION, committed=[], job=job, pods=pods(report), now=NOW + timedelta(seconds=wait - 1))
    after = assess_sync(VERSION, committed=[], job=job, pods=pods(report), now=NOW + timedelta(seconds=wait))
    assert before.retry_after_s == 1
    assert after.phase is SyncPhase.START_OVER


def test_what_the_sync_program_says_is_passed_on() -> None:
    found = assess_sync(VERSION, committed=[], job=build_job(), pods=pods(WRONG), now=NOW)
    assert found.failure is not None
    assert found.failure.reason == json.loads(WRONG)["reason"]
