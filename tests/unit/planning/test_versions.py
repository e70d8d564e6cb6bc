"""How far every version of the spec is, and which should serve: the records of what is on the volume decide, and what serves guards its embedding space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from clipmodel_contract.report import Failure, VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models import reasons
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.spaces import EmbeddingSpace
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.planning.jobs import job_name, plan_jobs
from clipmodel_operator.planning.versions import (
    AssessedVersions,
    assess_versions,
    plan_versions,
    served_versions,
    used_spaces,
)
from clipmodel_operator.rendering.config_map import render_config_map
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
    build_config_map,
    build_job,
    build_ledger,
    build_model,
    build_record,
    build_report,
    build_spec,
    build_sync_pod,
    build_view,
)

R1, R2 = build_record(), build_record(2, sha256=SHA_2, vectors=VECTORS_2)
#: Of another embedding space than both.
R3 = build_record(3, sha256=SHA_OTHER, vectors=VECTORS_OTHER)
SPACE, OTHER_SPACE = EmbeddingSpace(R1.vectors), EmbeddingSpace(R3.vectors)
REFUSED = Failure("ServerRejected", "Triton cannot load it", is_final=True)


# How far it is.


def observe(
    model: ClipModel,
    *,
    config_map: Object | None = None,
    reported: Mapping[int, str] | None = None,
    uid: str = "uid-job",
) -> Observed:
    """Observe a commit, and Jobs whose pods, of Job `uid`, have left reports."""
    reported = reported or {}
    jobs = plan_jobs(model, Observed(), RenderSettings())
    return Observed(
        config_map=config_map,
        jobs=tuple(build_job(job_name(jobs[number]), uid=f"uid-job-{number}") for number in reported),
        sync_pods=tuple(
            build_sync_pod(f"pod-{number}", report=report, job_uid=f"{uid}-{number}")
            for number, report in reported.items()
        ),
    )


#: The commit's serving versions and records, reports of Jobs -> versions of which a record is known.
KNOWN: dict[str, tuple[list[Object], tuple[int, ...], list[VersionRecord], dict[int, str], tuple[int, ...]]] = {
    "nothing is known of anything": ([ONE, TWO], (), [], {}, ()),
    "a Job has reported": ([ONE, TWO], (), [], {1: build_report()}, (1,)),
    "a Job has reported beside what is committed": ([ONE, TWO], (1,), [R1], {2: build_report(2, sha256=SHA_2)}, (1, 2)),
    "what is committed and does not serve is known while it is in the spec": ([ONE, TWO], (2,), [R1, R2], {}, (1, 2)),
    "what serves is known though it is in the spec no longer": ([TWO], (1,), [R1], {}, (1,)),
    "what neither serves nor is in the spec is forgotten": ([TWO], (2,), [R1, R2], {}, (2,)),
    "they are told lowest first": ([TWO], (1,), [R1], {2: build_report(2, sha256=SHA_2)}, (1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known(name: str) -> None:
    versions, serving, records, reported, known = KNOWN[name]
    model = build_model(build_spec(*versions))
    config_map = build_config_map(*serving, records=records) if serving else None
    found = assess_versions(model, observe(model, config_map=config_map, reported=reported), RenderSettings(), now=NOW)
    assert tuple(r.version for r in found.records) == known
    assert found.before.versions == serving
    assert [v.number for v in found.versions] == sorted((v["version"] for v in versions), reverse=True)
    assert set(found.jobs) == {v["version"] for v in versions}


def test_what_a_job_reports_of_a_version_stands_for_what_was_committed_of_it() -> None:
    """The spec has other bytes under the number of a version that serves; both cannot be told of."""
    model = build_model(build_spec({**ONE, "source": TWO["source"]}))
    reported = {1: build_report(sha256=SHA_2)}
    found = assess_versions(
        model, observe(model, config_map=build_config_map(1), reported=reported), RenderSettings(), now=NOW
    )
    assert [r.sha256 for r in found.records] == [SHA_2]


def test_what_is_attempted_and_what_was_proven_before_is_known_though_the_spec_has_it_no_longer() -> None:
    """Pods may start with it, or run it: they are compared with its golden vectors."""
    model = build_model(build_spec(OTHER))
    ledger = replace(
        build_ledger(1, records=(R1, R2)), previous=render_revision(build_model(build_spec(TWO)), {2: SHA_2})
    )
    config_map = render_config_map(model, ledger)
    found = assess_versions(model, Observed(config_map=config_map), RenderSettings(), now=NOW)
    assert [r.version for r in found.records] == [1, 2], "what was proven before"
    config_map = build_config_map(1, records=(R1, R2))
    attempt = Attempt(render_revision(build_model(build_spec(TWO)), {2: SHA_2}), Phase.RETURNING)
    observed = Observed(config_map=config_map, rollout_map=render_rollout_map(model, RolloutRecord(attempt)))
    found = assess_versions(model, observed, RenderSettings(), now=NOW)
    assert [r.version for r in found.records] == [1, 2], "what is attempted"
    found = assess_versions(model, replace(observed, rollout_map=None), RenderSettings(), now=NOW)
    assert [r.version for r in found.records] == [1], "what is neither is forgotten"


def test_a_pod_of_another_job_tells_nothing_of_this_one() -> None:
    model = build_model()
    observed = observe(model, reported={1: build_report()}, uid="uid-of-a-job-that-is-gone")
    (version,) = assess_versions(model, observed, RenderSettings(), now=NOW).versions
    assert version.phase is SyncPhase.RUNNING


# What serves, where nothing is committed.

SERVED: dict[str, tuple[list[PodView], list[int], tuple[int, ...]]] = {
    "nobody says anything": ([], [], ()),
    "a server says it": ([build_view(1, 2)], [], (1, 2)),
    "status alone says it: no server can be asked": ([build_view()], [1], (1,)),
    "status says it and servers say more": ([build_view(3)], [1, 2], (1, 2, 3)),
    "every server counts": ([build_view(2), build_view(1)], [], (1, 2)),
    "one that answers wrongly counts as well": ([build_view(1, difference="cosine 0.5")], [], (1,)),
}


@pytest.mark.parametrize("name", SERVED)
def test_what_serves_where_no_commit_says_it(name: str) -> None:
    views, in_status, served = SERVED[name]
    model = build_model(status={"servingVersions": in_status})
    assert served_versions(model, views) == served


# Anchors.

USED: dict[str, tuple[list[VersionRecord], list[EmbeddingSpace], tuple[EmbeddingSpace, ...]]] = {
    "the first version is the anchor": ([R1, R2], [], (SPACE,)),
    "the anchor stays when its version has gone, for as long as one is of its space": ([R2], [SPACE], (SPACE,)),
    "an anchor of which no version is goes": ([R3], [SPACE], (OTHER_SPACE,)),
    "a version of another space is an anchor of its own": ([R1, R3], [SPACE], (SPACE, OTHER_SPACE)),
    "nothing is there": ([], [SPACE], ()),
}


@pytest.mark.parametrize("name", USED)
def test_which_anchors_are_kept(name: str) -> None:
    records, before, kept = USED[name]
    assert used_spaces(records, before, min_cosine=0.999) == kept


# Which should serve.


@dataclass(frozen=True)
class Case:
    """What is known of the versions of a spec; which should serve, and which are refused, and why."""

    spec: Object
    records: Sequence[VersionRecord]
    target: tuple[int, ...]
    committed: tuple[int, ...] = ()
    served: tuple[int, ...] = ()
    failures: Mapping[int, Failure] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    leaving: tuple[int, ...] = ()


ALL: Object = {"versionPolicy": {"all": {}}}
MISMATCH = reasons.EMBEDDING_SPACE_MISMATCH
CASES = {
    "nothing is on the volume": Case(build_spec(ONE), [], ()),
    "the first one is on the volume": Case(build_spec(ONE), [R1], (1,)),
    "the highest is not on the volume yet, and nothing serves": Case(build_spec(ONE, TWO), [R1], (1,)),
    "the highest is not on the volume yet, and another serves": Case(build_spec(ONE, TWO), [R1], (1,), committed=(1,)),
    "the next one is of the same space": Case(build_spec(ONE, TWO), [R1, R2], (2,), committed=(1,)),
    "the next one is of another space": Case(build_spec(ONE, OTHER), [R1, R3], (1,), committed=(1,), refused={3: MISMATCH}),
    "the first one of all may be of any space": Case(build_spec(ONE, OTHER), [R1, R3], (3,)),
    "what serves and is in the spec no longer guards its space": Case(build_spec(OTHER), [R1, R3], (1,), committed=(1,), refused={3: MISMATCH}, leaving=(1,)),
    "what serves leaves when another can serve": Case(build_spec(TWO), [R1, R2], (2,), committed=(1,), leaving=(1,)),
    "what the policy does not choose is not judged": Case(build_spec(ONE, OTHER, versionPolicy={"specific": {"versions": [1]}}), [R1, R3], (1,), committed=(1,)),
    "what serves is not judged again": Case(build_spec(ONE, OTHER, **ALL), [R1, R3], (1, 3), committed=(1, 3), failures={3: REFUSED}),
    "pods did not take it": Case(build_spec(ONE, TWO), [R1, R2], (1,), committed=(1,), failures={2: REFUSED}, refused={2: "ServerRejected"}),
    "the commit is lost, and a server still has a version of another space": Case(build_spec(ONE, OTHER), [R1, R3], (1,), served=(1,), refused={3: MISMATCH}),
    "the commit is lost, and the volume has not told of what serves yet": Case(build_spec(ONE, OTHER), [R3], (), served=(1,)),
    "the commit is lost, and what serves is told of alone": Case(build_spec(ONE, OTHER), [R1], (1,), served=(1,)),
    "the commit is lost, and of two that serve one is told of": Case(build_spec(ONE, TWO, OTHER, **ALL), [R1, R3], (1,), served=(1, 2), refused={3: MISMATCH}),
    "the commit is lost, and what serves is in the spec no longer": Case(build_spec(OTHER), [R3], (3,), served=(1,)),
    "the commit counts, whatever servers say": Case(build_spec(ONE, OTHER), [R1, R3], (3,), committed=(3,), served=(1,)),
}  # fmt: skip


def assessed(model: ClipModel, case: Case) -> AssessedVersions:
    known = {r.version: r for r in case.records}
    numbers = sorted((v.version for v in model.spec.versions), reverse=True)
    versions = [
        Version(n, SyncPhase.DONE, record=known[n]) if n in known else Version(n, SyncPhase.NO_JOB) for n in numbers
    ]
    before = build_ledger(*case.committed, records=case.records) if case.committed else Ledger()
    return AssessedVersions(tuple(versions), {}, before, tuple(case.records))


@pytest.mark.parametrize("name", CASES)
def test_which_should_serve_when(name: str) -> None:
    case = CASES[name]
    model = build_model(case.spec)
    plan = plan_versions(model, assessed(model, case), failures=case.failures, served=case.served)
    assert plan.target.versions == case.target
    assert {v.number: v.failure.reason for v in plan.versions if v.failure} == case.refused
    assert tuple(v.number for v in plan.leaving) == case.leaving
    assert [v.number for v in plan.versions] == sorted((v["version"] for v in case.spec["versions"]), reverse=True)


def test_an_anchor_that_was_committed_stays_though_its_version_is_gone() -> None:
    """Drawn anew from version 2 the space would have another id, and vectors of both would seem not to be comparable."""
    model = build_model(build_spec(TWO))
    versions = (Version(2, SyncPhase.DONE, record=R2),)
    before = replace(build_ledger(2, records=(R2,)), spaces=(SPACE,))
    plan = plan_versions(model, AssessedVersions(versions, {}, before, (R2,)), failures={})
    assert plan.spaces == (SPACE,)
    assert [v.space_id for v in plan.versions] == [SPACE.id]


def test_versions_of_one_space_have_one_id_and_those_that_leave_have_one_too() -> None:
    model = build_model(build_spec(TWO, OTHER))
    case = Case(build_spec(TWO, OTHER), [R1, R2, R3], (), committed=(1,))
    plan = plan_versions(model, assessed(model, case), failures={})
    ids = {v.number: v.space_id for v in (*plan.versions, *plan.leaving)}
    assert ids == {1: SPACE.id, 2: SPACE.id, 3: OTHER_SPACE.id}
