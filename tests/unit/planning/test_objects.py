"""Every object that should be, given what is committed; and that the committed configs stay where pods have not proven the new ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.control_secret import secret_in_use
from clipmodel_operator.planning.jobs import job_name, plan_jobs
from clipmodel_operator.planning.objects import Desired, plan_desired, plan_objects
from clipmodel_operator.planning.update_strategy import PATIENCE_S
from clipmodel_operator.planning.versions import assess_versions
from clipmodel_operator.rendering.config_map import Committed
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config
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
    build_model,
    build_record,
    build_report,
    build_spec,
    build_sync_pod,
    build_view,
)
from support.rolls import GPU, NO_GPU, build_deployment, build_pod, build_refused_pod

SECRET: Object = {"kind": "Secret", "metadata": {"name": "clip-control-1", "annotations": None}}
STRATEGY = UpdateStrategy(has_surge=True, why="the volume is shared")
R1, R2 = build_record(), build_record(2, sha256=SHA_2, vectors=VECTORS_2)
FASTER = {"batching": {"maxQueueDelay": "1ms"}}
REFUSED = Failure("ServerRejected", "Triton refuses the configuration", is_final=True)


def desire(
    model: ClipModel,
    observed: Observed = Observed(),  # noqa: B008 - it is frozen
    *,
    views: Sequence[PodView] = (),
    failures: Mapping[int | None, Failure] | None = None,
    refused_since: datetime | None = None,
) -> Desired:
    settings = RenderSettings()
    assessed = assess_versions(model, observed, settings, now=NOW)
    return plan_desired(
        model,
        observed,
        assessed,
        views,
        settings,
        control_secret=SECRET,
        failures=failures or {},
        now=NOW,
        refused_since=refused_since,
    )


def kinds(manifests: Sequence[Object]) -> list[str]:
    return [m["kind"] for m in manifests]


def config_map_of(desired: Desired) -> Object:
    (found,) = (m for m in desired.applied if m["kind"] == "ConfigMap")
    return found


def runs(*versions: int, **spec: object) -> PodView:
    """Build a ready pod that runs, proven, what a spec asks for."""
    model = build_model(build_spec(**spec))
    return build_view(*versions, config_id=config_id(render_config(model, versions=versions, profile=Profile.CPU)))


# All that is applied.

APPLIED: dict[str, tuple[Object, Committed, list[str]]] = {
    "before the first sync the volume alone": ({}, Committed(), ["PersistentVolumeClaim"]),
    "before the first sync to a claim of the user's nothing": ({"existingClaim": "mine"}, Committed(), []),
    "records that no version serves are no commit": ({}, Committed((), (R1,)), ["PersistentVolumeClaim"]),
    "what pods read comes before the pods": ({}, Committed((1,), (R1,)), ["PersistentVolumeClaim", "ConfigMap", "Service", "Deployment"]),
    "a claim of the user's is left alone": ({"existingClaim": "mine"}, Committed((1,), (R1,)), ["ConfigMap", "Service", "Deployment"]),
}  # fmt: skip


@pytest.mark.parametrize("name", APPLIED)
def test_what_is_applied(name: str) -> None:
    storage, committed, applied = APPLIED[name]
    found = plan_objects(
        build_model(build_spec(storage=storage)),
        RenderSettings(),
        committed=committed,
        secret_name="clip-control-1",  # noqa: S106 - a name
        strategy=STRATEGY,
        kept_configs={},
    )
    assert kinds(found) == applied
    assert "null" not in json.dumps(found), "server-side apply would own what is null"


def test_kept_configs_stand_in_place_of_rendered_ones_and_bring_no_entry_of_their_own() -> None:
    """A profile that this release does not know would stay in the ConfigMap for ever."""
    found = plan_objects(
        build_model(),
        RenderSettings(),
        committed=Committed((1,), (R1,)),
        secret_name="clip-control-1",  # noqa: S106 - a name
        strategy=STRATEGY,
        kept_configs={"cpu.pbtxt": "kept", "tpu.pbtxt": "of a release to come"},
    )
    (config_map,) = (m for m in found if m["kind"] == "ConfigMap")
    assert config_map["data"]["cpu.pbtxt"] == "kept"
    assert "tpu.pbtxt" not in config_map["data"]
    assert config_map["data"]["gpu.pbtxt"] == build_config_map(1)["data"]["gpu.pbtxt"]


# The configs in the ConfigMap.

#: The spec's further fields, the pods, failures -> whether the ConfigMap's configs are those that are committed.
CONFIGS: dict[str, tuple[Object, list[PodView], dict[int | None, Failure], bool]] = {
    "a ready pod has not proven the new one": (FASTER, [runs(1)], {}, True),
    "every ready pod has proven the new one": (FASTER, [runs(1, **FASTER)], {}, False),
    "one of two ready pods has proven it": (FASTER, [runs(1), runs(1, **FASTER)], {}, True),
    "Triton refuses the new one": (FASTER, [runs(1)], {None: REFUSED}, True),
    "no pod can prove it, for it is on its way": (FASTER, [], {}, True),
    "it is paused": ({**FASTER, "paused": True}, [runs(1, **FASTER)], {}, True),
    "no pod is wanted to prove it": ({**FASTER, "serving": {"replicas": 0}}, [], {}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_which_configs_a_pod_that_restarts_reads_when(name: str) -> None:
    fields, views, failures, is_kept = CONFIGS[name]
    before, model = build_config_map(1), build_model(build_spec(**fields))
    before["data"]["probe.py"] = "of an earlier release"
    found = config_map_of(desire(model, Observed(config_map=before), views=views, failures=failures))
    wanted = before if is_kept else build_config_map(1, model=model)
    for key in ("cpu.pbtxt", "gpu.pbtxt"):
        assert found["data"][key] == wanted["data"][key], key
    assert found["data"]["probe.py"] == build_config_map(1)["data"]["probe.py"], "the rest is always today's"


def test_the_records_of_a_version_that_is_synced_are_committed_before_it_serves() -> None:
    model = build_model(build_spec(ONE, TWO))
    before = build_config_map(1, records=(R1, R2), model=model)
    desired = desire(model, Observed(config_map=before), views=[runs(1)])
    data = config_map_of(desired)["data"]
    assert set(json.loads(data["versions.json"])["versions"]) == {"1"}
    assert set(json.loads(data["records.json"])["versions"]) == {"1", "2"}
    assert data["cpu.pbtxt"] == before["data"]["cpu.pbtxt"]
    assert desired.committed.versions == (1,)
    assert desired.versions.target.versions == (2,)
    assert len(desired.pending) == 1


# What earlier passes and the pods say.


@pytest.mark.parametrize("failures", [{}, {None: REFUSED}], ids=["not tried yet", "Triton has refused it"])
def test_a_config_that_was_refused_is_not_tried_again(failures: dict[int | None, Failure]) -> None:
    desired = desire(
        build_model(build_spec(**FASTER)), Observed(config_map=build_config_map(1)), views=[runs(1)], failures=failures
    )
    assert len(desired.pending) == int(not failures)
    assert not desired.is_new_config


@pytest.mark.parametrize(("views", "target"), [([runs(1)], (1,)), ([], (3,))], ids=["a server says so", "nobody does"])
def test_what_serves_guards_its_space_where_the_commit_is_lost(views: list[PodView], target: tuple[int, ...]) -> None:
    model = build_model(build_spec(ONE, OTHER))
    jobs = plan_jobs(model, Observed(), RenderSettings())
    reports = {1: build_report(), 3: build_report(3, sha256=SHA_OTHER, vectors=VECTORS_OTHER)}
    observed = Observed(
        jobs=tuple(build_job(job_name(jobs[n]), uid=f"uid-{n}") for n in reports),
        sync_pods=tuple(build_sync_pod(f"pod-{n}", report=r, job_uid=f"uid-{n}") for n, r in reports.items()),
    )
    assert desire(model, observed, views=views).versions.target.versions == target


@pytest.mark.parametrize("waited_s", [0, PATIENCE_S])
def test_a_surge_pod_is_waited_for_since_it_was_first_refused(waited_s: float) -> None:
    pods = (build_pod("clip-old", "old", resources=GPU), build_refused_pod(NO_GPU, resources=GPU))
    observed = Observed(deployment=build_deployment(), server_pods=pods)
    since = NOW - timedelta(seconds=waited_s)
    desired = desire(build_model(), observed, refused_since=since)
    assert desired.strategy.has_surge is (waited_s == 0)
    assert desired.strategy.refused_since == since


# The Secret, and the Jobs.


def test_before_anything_is_committed_there_is_a_job_and_no_secret() -> None:
    desired = desire(build_model())
    assert kinds(desired.jobs) == ["Job"]
    assert desired.kept_jobs == {desired.jobs[0]["metadata"]["name"]}
    assert desired.restarted_jobs == frozenset()
    assert desired.secret is None, "no pod reads it yet"
    assert kinds(desired.applied) == ["PersistentVolumeClaim"]


def test_the_secret_is_made_with_the_first_commit_and_while_it_may_be_missing() -> None:
    observed = Observed(config_map=build_config_map(1))
    desired = desire(build_model(), observed, views=[runs(1)])
    assert desired.secret == {"kind": "Secret", "metadata": {"name": "clip-control-1"}}
    (deployment,) = (m for m in desired.applied if m["kind"] == "Deployment")
    assert secret_in_use(deployment) == "clip-control-1"
    after = Observed(config_map=build_config_map(1), deployment=deployment)
    assert desire(build_model(), after, views=[runs(1)]).secret is None
    assert desire(build_model(), after, views=[runs(1)]).jobs == (), "what is committed is not fetched again"
