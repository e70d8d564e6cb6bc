"""What the operator would make of a ClipModel in the end: as if every sync succeeded, with the same planning as its passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from clipmodel_contract.report import VersionRecord
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.spaces import EmbeddingSpace
from clipmodel_operator.planning.expected import Expected, plan_expected
from clipmodel_operator.planning.jobs import job_name, plan_jobs
from clipmodel_operator.rendering.config_map import read_ledger, render_config_map
from clipmodel_operator.rendering.revision import render_revision
from clipmodel_operator.rendering.rollout_map import render_rollout_map
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import (
    NOW,
    ONE,
    OTHER,
    SHA_2,
    SHA_OTHER,
    TWO,
    VECTORS_2,
    VECTORS_OTHER,
    Object,
    build_job,
    build_ledger,
    build_model,
    build_record,
    build_report,
    build_spec,
    build_sync_pod,
)

R1, R2 = build_record(), build_record(2, sha256=SHA_2, vectors=VECTORS_2)
R3 = build_record(3, sha256=SHA_OTHER, vectors=VECTORS_OTHER)
ALL: Object = {"versionPolicy": {"all": {}}}


def commit(serving: Sequence[int], records: Sequence[VersionRecord], *spaces: EmbeddingSpace) -> Object:
    return render_config_map(build_model(), replace(build_ledger(*serving, records=records), spaces=spaces))


def expect(spec: Object, config_map: Object | None = None, *jobs: Object) -> Expected:
    observed = Observed(config_map=config_map, jobs=jobs)
    return plan_expected(
        build_model(spec),
        observed,
        RenderSettings(),
        secret_name="clip-control-1",  # noqa: S106 - a name
        now=NOW,
    )


def committed_by(expected: Expected) -> Ledger:
    return read_ledger(next((o for o in expected.objects if o["metadata"]["name"] == "clip-config"), None))


@dataclass(frozen=True)
class Case:
    """The spec and what is committed now; what would serve, which records the ConfigMap would hold, and what is told beside it."""

    spec: Object
    serving: tuple[int, ...] = ()
    records: Sequence[VersionRecord] = ()
    then: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    jobs: int = 0
    unproven: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    other_bytes: tuple[int, ...] = ()


CASES = {
    "nothing is there": Case(build_spec(ONE), then=(1,), kept=(1,), jobs=1, unproven=(1,)),
    "all is there": Case(build_spec(ONE), (1,), [R1], then=(1,), kept=(1,)),
    "a version is added: it would be fetched, and would serve": Case(build_spec(ONE, TWO), (1,), [R1], then=(2,), kept=(1, 2), jobs=1, unproven=(2,)),
    "more are added than are fetched at once": Case(build_spec(ONE, TWO, OTHER, **ALL), (), [], then=(1, 2, 3), kept=(1, 2, 3), jobs=3, unproven=(1, 2, 3)),
    "one that the policy does not choose is fetched too": Case(build_spec(ONE, TWO, versionPolicy={"specific": {"versions": [1]}}), (1,), [R1], then=(1,), kept=(1, 2), jobs=1, unproven=(2,)),
    "what serves would be replaced, and its record stays: a pod may start with it yet": Case(build_spec(TWO), (1,), [R1, R2], then=(2,), kept=(1, 2)),
    "what serves no longer and is in the spec no longer goes": Case(build_spec(TWO), (2,), [R1, R2], then=(2,), kept=(2,)),
    "what serves stays, with its record, where its successor may not follow": Case(build_spec(OTHER), (1,), [R1, R3], then=(1,), kept=(1, 3), refused=(3,)),
    "a version of another space may not follow what serves": Case(build_spec(ONE, OTHER), (1,), [R1, R3], then=(1,), kept=(1, 3), refused=(3,)),
    "the spec has other bytes under a number that serves": Case(build_spec({**ONE, "source": TWO["source"]}), (1,), [R1], then=(1,), kept=(1,), jobs=1, unproven=(1,), other_bytes=(1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_it_would_come_to_when(name: str) -> None:
    case = CASES[name]
    expected = expect(case.spec, commit(case.serving, case.records) if case.serving else None)
    assert expected.before == case.serving
    assert expected.serving == case.then
    committed = committed_by(expected)
    assert committed.versions == case.then
    assert tuple(r.version for r in committed.records) == case.kept
    assert len(expected.jobs) == case.jobs
    assert expected.unproven == case.unproven
    assert tuple(expected.refused) == case.refused
    assert expected.other_bytes == case.other_bytes


def test_an_anchor_stays_though_its_version_goes() -> None:
    """Drawn anew from version 2, it would have drifted: another id, of the same space."""
    anchor = EmbeddingSpace(R1.vectors)
    committed = committed_by(expect(build_spec(TWO), commit((2,), [R1, R2], anchor)))
    assert committed.spaces == (anchor,)
    assert tuple(r.version for r in committed.records) == (2,)


def test_what_status_says_guards_the_space_where_the_commit_is_lost() -> None:
    """As it does in the operator's own passes, where the servers are asked as well."""
    spec = build_spec(ONE, OTHER)
    jobs = plan_jobs(build_model(spec), Observed(), RenderSettings())
    reports = {1: build_report(), 3: build_report(3, sha256=SHA_OTHER, vectors=VECTORS_OTHER)}
    observed = Observed(
        jobs=tuple(build_job(job_name(jobs[n]), complete=True, uid=f"uid-{n}") for n in reports),
        sync_pods=tuple(build_sync_pod(f"pod-{n}", report=r, job_uid=f"uid-{n}") for n, r in reports.items()),
    )
    model = build_model(spec, status={"servingVersions": [1]})
    expected = plan_expected(
        model,
        observed,
        RenderSettings(),
        secret_name="clip-control-1",  # noqa: S106 - a name
        now=NOW,
    )
    assert expected.serving == (1,)
    assert tuple(expected.refused) == (3,)


def test_jobs_of_sources_that_the_spec_no_longer_has_would_go() -> None:
    jobs = plan_jobs(build_model(build_spec(ONE, TWO)), Observed(), RenderSettings())
    running = [build_job(job_name(job)) for job in jobs.values()]
    expected = expect(build_spec(TWO), None, *running)
    assert expected.removed_jobs == (job_name(jobs[1]),)
    assert expected.jobs == (), "version 2 has its Job"


def test_a_job_that_must_start_over_would_go_and_be_made() -> None:
    job = plan_jobs(build_model(), Observed(), RenderSettings())[1]
    expected = expect(build_spec(ONE), None, build_job(job_name(job), complete=True))
    assert expected.removed_jobs == (job_name(job),)
    assert [job_name(j) for j in expected.jobs] == [job_name(job)]


def test_configs_are_those_of_the_spec_and_not_those_that_are_committed() -> None:
    """In the end the pods have proven them."""
    spec = build_spec(ONE, batching={"maxQueueDelay": "1ms"})
    expected = expect(spec, commit((1,), [R1]))
    (found,) = (o for o in expected.objects if o["kind"] == "ConfigMap")
    wanted = render_config_map(build_model(spec), build_ledger(1, records=(R1,), model=build_model(spec)))
    assert found["data"]["cpu.pbtxt"] == wanted["data"]["cpu.pbtxt"]
    assert found["metadata"]["name"] == names.config_map_name("clip")


def test_what_serves_now_would_be_what_was_proven_before() -> None:
    now = read_ledger(commit((1,), [R1, R2]))
    then = committed_by(expect(build_spec(TWO), commit((1,), [R1, R2])))
    assert then.proven is not None
    assert then.boot == then.proven
    assert then.proven.versions == (2,)
    assert then.previous == now.proven


def test_by_new_pods_the_other_slot_would_be_read() -> None:
    spec = build_spec(TWO, rollout={"strategy": "Replace"})
    expected = expect(spec, commit((1,), [R1, R2]))
    assert committed_by(expected).slot == "b"
    assert "clip-config-b" in [o["metadata"]["name"] for o in expected.objects]
    back = next(o for o in expected.objects if o["metadata"]["name"] == "clip-config")
    assert committed_by(expect(build_spec(ONE, rollout={"strategy": "Replace"}), back)).slot == ""


def test_a_spec_that_asks_for_what_is_proven_changes_no_slot() -> None:
    now = commit((1,), [R1], EmbeddingSpace(R1.vectors))
    assert committed_by(expect(build_spec(ONE, rollout={"strategy": "Replace"}), now)) == read_ledger(now)


def test_what_is_remembered_of_attempts_is_no_part_of_it() -> None:
    """It follows from no spec: `clipmodel diff` says nothing of it while an attempt is open."""
    target = render_revision(build_model(build_spec(TWO)), {2: SHA_2})
    record = RolloutRecord(Attempt(target, Phase.PROVING), retry="1")
    observed = Observed(config_map=commit((1,), [R1, R2]), rollout_map=render_rollout_map(build_model(), record))
    expected = plan_expected(
        build_model(build_spec(TWO)),
        observed,
        RenderSettings(),
        secret_name="clip-control-1",  # noqa: S106 - a name
        now=NOW,
    )
    assert "clip-rollout" not in [o["metadata"]["name"] for o in expected.objects]
    assert committed_by(expected).boot == target
