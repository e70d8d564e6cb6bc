"""Every object that should be, given what is committed and attempted; and what pods that start read then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Observed, Outcome, PodView, Verdict
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.control_secret import secret_in_use
from clipmodel_operator.planning.jobs import job_name, plan_jobs
from clipmodel_operator.planning.objects import (
    Desired,
    must_replace,
    plan_desired,
    plan_objects,
    recover_revision,
    target_revision,
)
from clipmodel_operator.planning.situation import RolloutPlan
from clipmodel_operator.planning.update_strategy import PATIENCE_S
from clipmodel_operator.planning.versions import assess_versions
from clipmodel_operator.rendering.config_map import read_ledger, render_config_map
from clipmodel_operator.rendering.deployment import template_hash
from clipmodel_operator.rendering.revision import build_revision, render_revision
from clipmodel_operator.rendering.rollout_map import read_rollout, render_rollout_map
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import (
    NOW,
    ONE,
    OTHER,
    SHA_1,
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
from support.rolls import GPU, NO_GPU, build_deployment, build_pod, build_refused_pod

SECRET: Object = {"kind": "Secret", "metadata": {"name": "clip-control-1", "annotations": None}}
STRATEGY = UpdateStrategy(has_surge=True, why="the volume is shared")
R1, R2 = build_record(), build_record(2, sha256=SHA_2, vectors=VECTORS_2)
SHAS = {1: SHA_1, 2: SHA_2}
FASTER: Object = {"batching": {"maxQueueDelay": "1ms"}}


def desire(
    model: ClipModel,
    observed: Observed = Observed(),  # noqa: B008 - it is frozen
    *,
    views: Sequence[PodView] = (),
    retry: str = "",
    now: datetime = NOW,
    refused_since: datetime | None = None,
) -> Desired:
    settings = RenderSettings()
    assessed = assess_versions(model, observed, settings, now=now)
    return plan_desired(
        model,
        observed,
        assessed,
        views,
        settings,
        control_secret=SECRET,
        retry=retry,
        now=now,
        refused_since=refused_since,
    )


def kinds(manifests: Sequence[Object]) -> list[str]:
    return [m["kind"] for m in manifests]


def called(manifests: Sequence[Object]) -> list[str]:
    """List kinds; of ConfigMaps names, for there may be three."""
    return [m["metadata"]["name"] if m["kind"] == "ConfigMap" else m["kind"] for m in manifests]


def config_map_of(desired: Desired, name: str = "clip-config") -> Object:
    (found,) = (m for m in desired.applied if m["metadata"]["name"] == name)
    return found


def revision(*versions: int, **spec: Any) -> Revision:
    return render_revision(build_model(build_spec(**spec)), {v: SHAS[v] for v in versions})


def runs(*versions: int, **spec: Any) -> PodView:
    """Build a ready pod that runs, proven, what a spec asks for."""
    of = revision(*versions, **spec)
    return replace(build_view(*versions, config_id=of.config_ids["cpu"]), proved=frozenset({of.proof_of("cpu")}))


# All that is applied.

A, B = revision(1), revision(1, **FASTER)
OLD = revision(1, batching={"maxQueueDelay": "2ms"})
PROVEN = Ledger(A, A, None, "", (R1,))
#: `rollout.strategy: Replace` was used an odd number of times: pods read the second slot.
SECOND = Ledger(A, A, OLD, "b", (R1,))
TO_B = RolloutRecord(Attempt(B, Phase.REPLACING, slot="b"))
BACK_TO_FIRST = RolloutRecord(Attempt(B, Phase.REPLACING, slot=""))


def apply(rollout: RolloutPlan, observed: Observed = Observed(), **storage: Any) -> tuple[Object, ...]:  # noqa: B008 - it is frozen
    return plan_objects(
        build_model(build_spec(storage=storage)),
        RenderSettings(),
        rollout=rollout,
        secret_name="clip-control-1",  # noqa: S106 - a name
        strategy=STRATEGY,
        observed=observed,
    )


CLAIM, PODS = ["PersistentVolumeClaim"], ["Service", "Deployment"]
RECORD = RolloutRecord(retry="1")
APPLIED: dict[str, tuple[Object, Ledger, RolloutRecord, list[str]]] = {
    "before the first sync the volume alone": ({}, Ledger(), RolloutRecord(), CLAIM),
    "before the first sync to a claim of the user's nothing": ({"existingClaim": "mine"}, Ledger(), RolloutRecord(), []),
    "records of which no revision is are no commit": ({}, Ledger(records=(R1,)), RolloutRecord(), CLAIM),
    "what pods read comes before the pods": ({}, PROVEN, RolloutRecord(), [*CLAIM, "clip-config", *PODS]),
    "a claim of the user's is left alone": ({"existingClaim": "mine"}, PROVEN, RolloutRecord(), ["clip-config", *PODS]),
    "nothing is proven yet": ({}, Ledger(boot=A, records=(R1,)), RolloutRecord(), [*CLAIM, "clip-config", *PODS]),
    "what is remembered of failures comes after what is committed": ({}, PROVEN, RECORD, [*CLAIM, "clip-config", "clip-rollout", *PODS]),
    "new pods are to read the other slot": ({}, PROVEN, TO_B, [*CLAIM, "clip-rollout", "clip-config", "clip-config-b", *PODS]),
    "pods read the second slot": ({}, SECOND, RolloutRecord(), [*CLAIM, "clip-config", "clip-config-b", *PODS]),
}  # fmt: skip


@pytest.mark.parametrize("name", APPLIED)
def test_what_is_applied(name: str) -> None:
    storage, ledger, record, applied = APPLIED[name]
    found = apply(RolloutPlan(ledger, record, A), **storage)
    assert called(found) == applied
    assert "null" not in json.dumps([m for m in found if m["kind"] != "ConfigMap"]), "server-side apply would own it"


def test_what_is_remembered_is_written_until_it_is_nothing_again() -> None:
    """The operator has no right to delete ConfigMaps: what was written once is written over."""
    observed = Observed(rollout_map=render_rollout_map(build_model(), RECORD))
    found = apply(RolloutPlan(PROVEN, RolloutRecord(), A), observed)
    (rollout_map,) = (m for m in found if m["metadata"]["name"] == "clip-rollout")
    assert read_rollout(rollout_map) == RolloutRecord()


#: What each slot's pods start with, and which slot the Deployment's pods read. `OLD` is what is in the first slot before.
SLOTS: dict[str, tuple[Ledger, RolloutRecord, Revision, Revision | None, str]] = {
    "pods read the first slot": (PROVEN, RolloutRecord(), A, None, "clip-config"),
    "new pods are to read the second": (PROVEN, TO_B, A, B, "clip-config-b"),
    "the new pods have failed: the second stays as it is": (PROVEN, RolloutRecord(Attempt(B, Phase.RETURNING, slot="b")), A, None, "clip-config"),
    "pods read the second slot: the first stays as it is": (SECOND, RolloutRecord(), OLD, A, "clip-config-b"),
    "new pods are to read the first again": (SECOND, BACK_TO_FIRST, B, A, "clip-config"),
    "those have failed: the first stays as it is": (SECOND, RolloutRecord(Attempt(B, Phase.RETURNING)), OLD, A, "clip-config-b"),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOTS)
def test_what_pods_of_each_slot_start_with_when(name: str) -> None:
    ledger, record, first, second, reads = SLOTS[name]
    before = Observed(config_map=render_config_map(build_model(), Ledger(OLD, OLD, None, "", (R1,))))
    found = {m["metadata"]["name"]: m for m in apply(RolloutPlan(ledger, record, B), before)}
    boots = {"clip-config": first, "clip-config-b": second}
    for slot, boot in boots.items():
        assert (slot in found) == (boot is not None)
        if boot is None:
            continue
        data = found[slot]["data"]
        assert boot.config_ids["cpu"] in data["cpu.pbtxt"]
        assert boot.config_ids["gpu"] in data["gpu.pbtxt"]
        assert boot.config_ids["cpu"] in json.loads(data["versions.json"])["proofs"], "the startup probe has its proof"
    volumes = found["clip"]["spec"]["template"]["spec"]["volumes"]
    assert {v["configMap"]["name"] for v in volumes if "configMap" in v} == {reads}
    assert read_ledger(found["clip-config"]) == ledger


# What is committed.

#: The spec's further fields, the pods -> whether pods that start read what is proven, and not what the spec asks for.
CONFIGS: dict[str, tuple[Object, list[PodView], bool]] = {
    "a ready pod has not proven the new one": (FASTER, [runs(1)], True),
    "every ready pod has proven the new one": (FASTER, [runs(1, **FASTER)], False),
    "one of two ready pods has proven it": (FASTER, [runs(1), runs(1, **FASTER)], True),
    "no pod can prove it, for it is on its way": (FASTER, [], True),
    "it is paused": ({**FASTER, "paused": True}, [runs(1, **FASTER)], True),
    "no pod is wanted to prove it": ({**FASTER, "serving": {"replicas": 0}}, [], True),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_which_configs_a_pod_that_restarts_reads_when(name: str) -> None:
    fields, views, is_kept = CONFIGS[name]
    before, model = build_config_map(1), build_model(build_spec(**fields))
    before["data"]["probe.py"] = "of an earlier release"
    # Pods that run the same have the same name here; an attempt is open that all of them are of.
    of = tuple(f"uid-clip-{n}/containerd://clip-{n}" for n in range(len(views)))
    named = [
        replace(v, pod={**v.pod, "metadata": {**v.pod["metadata"], "uid": f"uid-clip-{n}"}})
        for n, v in enumerate(views)
    ]
    record = RolloutRecord(Attempt(B, Phase.SWITCHING, pods=of))
    observed = Observed(config_map=before, rollout_map=render_rollout_map(model, record) if views else None)
    found = config_map_of(desire(model, observed, views=named))
    wanted = before if is_kept else build_config_map(1, model=model)
    for key in ("cpu.pbtxt", "gpu.pbtxt"):
        assert found["data"][key] == wanted["data"][key], key
    assert found["data"]["probe.py"] == build_config_map(1)["data"]["probe.py"], "the rest is always today's"


def test_the_records_of_a_version_that_is_synced_are_committed_before_it_serves() -> None:
    model = build_model(build_spec(ONE, TWO))
    before = build_config_map(1, records=(R1, R2), model=model)
    desired = desire(model, Observed(config_map=before), views=[runs(1)])
    data = config_map_of(desired)["data"]
    assert set(json.loads(data["versions.json"])["golden"]) == {SHA_1}
    assert set(json.loads(data["records.json"])["versions"]) == {"1", "2"}
    assert data["cpu.pbtxt"] == before["data"]["cpu.pbtxt"]
    assert desired.rollout.ledger.versions == (1,)
    assert desired.versions.target.versions == (2,)
    assert desired.rollout.phase is Phase.PROVING


def test_what_is_known_has_what_pods_are_brought_to() -> None:
    desired = desire(build_model(build_spec(**FASTER)), Observed(config_map=build_config_map(1)), views=[runs(1)])
    assert [r.id for r in desired.known] == [A.id, B.id]
    assert desired.is_news, "an attempt is begun: it is written before its first step"


def test_at_rest_there_is_no_news() -> None:
    desired = desire(build_model(), Observed(config_map=build_config_map(1)), views=[runs(1)])
    assert not desired.is_news
    assert desired.failure is None
    assert desired.rollout.steps == ()


# Failures.


def refuse(**fields: Any) -> Desired:
    """Have the one pod refuse what the spec asks for."""
    model = build_model(build_spec(**fields))
    view = runs(1)
    of = revision(1, **{k: v for k, v in fields.items() if k != "paused"})
    record = RolloutRecord(Attempt(of, Phase.PROVING, pods=("uid-clip-0/containerd://clip-0",)))
    observed = Observed(config_map=build_config_map(1), rollout_map=render_rollout_map(model, record))
    return desire(model, observed, views=[replace(view, verdict=Verdict(of.id, Outcome.REFUSED, "no"))])


def test_a_config_that_was_refused_is_tried_again_when_it_is_time_and_not_before() -> None:
    desired = refuse(**FASTER)
    assert desired.failure is not None
    assert desired.failure.reason == "ServerRejected"
    observed = Observed(config_map=build_config_map(1), rollout_map=config_map_of(desired, "clip-rollout"))
    model = build_model(build_spec(**FASTER))
    for waited_s, phase in ((59, None), (60, Phase.PROVING)):
        again = desire(model, observed, views=[runs(1)], now=NOW + timedelta(seconds=waited_s))
        assert again.rollout.phase is phase
        assert (again.failure is None) == (phase is not None)


@pytest.mark.parametrize(
    ("fields", "retry", "is_tried"),
    [
        pytest.param(FASTER, "", False, id="nobody asks for it"),
        pytest.param(FASTER, "now", True, id="the user asks for it"),
        pytest.param({**FASTER, "paused": True}, "now", False, id="the user asks for it while it is paused"),
        pytest.param({**FASTER, "serving": {"replicas": 3}}, "", False, id="another generation"),
        pytest.param({**FASTER, "serving": {"image": "example.com/triton:2"}}, "", True, id="another pod template"),
        pytest.param({"batching": {"maxQueueDelay": "3ms"}}, "", True, id="another configuration"),
    ],
)
def test_who_has_a_failure_forgotten(fields: Object, retry: str, is_tried: bool) -> None:  # noqa: FBT001 - a row
    observed = Observed(config_map=build_config_map(1), rollout_map=config_map_of(refuse(**FASTER), "clip-rollout"))
    again = desire(build_model(build_spec(**fields)), observed, views=[runs(1)], retry=retry)
    assert (again.rollout.phase is Phase.PROVING) == is_tried
    assert again.rollout.record.retry == (retry if is_tried else "")


def test_a_version_that_pods_refuse_is_left_out_and_the_rest_serves() -> None:
    spec = build_spec(ONE, TWO, versionPolicy={"all": {}})
    model = build_model(spec)
    target = render_revision(model, SHAS)
    record = RolloutRecord(Attempt(target, Phase.PROVING, pods=("uid-clip-0/containerd://clip-0",)))
    records = build_config_map(1, records=(R1, R2))
    verdict = Verdict(target.id, Outcome.DIFFERS, "version 2: cosine 0.5", 2)
    first = desire(
        model,
        Observed(config_map=records, rollout_map=render_rollout_map(model, record)),
        views=[replace(runs(1), verdict=verdict)],
    )
    observed = Observed(config_map=config_map_of(first), rollout_map=config_map_of(first, "clip-rollout"))
    then = desire(model, observed, views=[runs(1)])
    assert then.versions.target.versions == (1,)
    assert [f.version for f in then.failing] == [2]
    assert then.rollout.phase is None, "what serves is what is left"


def test_a_clock_that_was_wrong_does_not_block_for_years() -> None:
    observed = Observed(config_map=build_config_map(1), rollout_map=config_map_of(refuse(**FASTER), "clip-rollout"))
    earlier = NOW - timedelta(days=365)
    desired = desire(build_model(build_spec(**FASTER)), observed, views=[runs(1)], now=earlier)
    assert desired.failure is not None
    assert desired.failure.not_before == earlier + timedelta(hours=1)


# What goes by new pods.

CPU_ONLY = build_revision({"cpu": A.configs["cpu"]}, A.digests, min_cosine=A.min_cosine)
TWO_GPUS = render_revision(build_model(build_spec(profile="gpu", serving={"gpu": {"count": 2}})), {1: SHA_1})
STRICTER_B = build_revision(B.configs, B.digests, min_cosine=0.99999)
OTHER_BYTES_B = build_revision(B.configs, {1: SHA_OTHER}, min_cosine=B.min_cosine)
REPLACES: dict[str, tuple[Object, Revision | None, bool]] = {
    "in place": ({}, A, False),
    "the user asks for it": ({"rollout": {"strategy": "Replace"}}, A, True),
    "the user asks for it, and nothing is proven": ({"rollout": {"strategy": "Replace"}}, None, False),
    "the user asks for it, and the tolerance alone is another: nothing is loaded": ({"rollout": {"strategy": "Replace"}}, STRICTER_B, False),
    "the user asks for it, and the bytes alone are others": ({"rollout": {"strategy": "Replace"}}, OTHER_BYTES_B, True),
    "nothing is proven": ({}, None, False),
    "another profile, of which what is proven has a config": ({"profile": "gpu"}, A, False),
    "another profile, of which it has none": ({"profile": "gpu"}, CPU_ONLY, True),
    "fewer GPUs than what is proven uses": ({"profile": "gpu", "serving": {"gpu": {"count": 1}}}, TWO_GPUS, True),
    "as many GPUs": ({"profile": "gpu", "serving": {"gpu": {"count": 2}}}, TWO_GPUS, False),
    "one GPU, if nothing is said": ({"profile": "gpu"}, TWO_GPUS, True),
    "no GPU any more": ({"profile": "cpu"}, TWO_GPUS, False),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLACES)
def test_whether_it_goes_by_new_pods_when(name: str) -> None:
    fields, proven, is_it = REPLACES[name]
    assert must_replace(build_model(build_spec(**fields)), proven, B) is is_it


def test_without_a_target_nothing_goes_by_new_pods() -> None:
    assert not must_replace(build_model(build_spec(profile="gpu")), CPU_ONLY, None)


# Pods of another template.

SETTLED: dict[str, tuple[str, str, bool]] = {
    "of the template that is asked for": ("", "", True),
    "of that of the other slot": ("b", "b", True),
    "of that of the slot that is not in use": ("b", "", False),
    "of an earlier one": ("earlier", "", False),
}


@pytest.mark.parametrize("name", SETTLED)
def test_whether_an_attempt_begins_on_pods(name: str) -> None:
    has, slot, is_begun = SETTLED[name]
    model = build_model(build_spec(**FASTER))
    own = template_hash(model, RenderSettings(), control_secret="clip-control-1", slot=has if has in {"", "b"} else "")  # noqa: S106 - a name
    template = {"metadata": {"annotations": {names.ANNOTATION_TEMPLATE: has if has == "earlier" else own}}}
    deployment = {"spec": {"template": template}, "status": {"replicas": 1, "updatedReplicas": 1}}
    ledger = replace(build_ledger(1), slot=slot)
    observed = Observed(config_map=render_config_map(model, ledger), deployment=deployment)
    assert (desire(model, observed, views=[runs(1)]).rollout.phase is Phase.PROVING) == is_begun


# What pods run, where the ledger is lost.


def said(of: Revision, **fields: Any) -> PodView:
    view = runs(1)
    assert view.loaded is not None
    return replace(view, loaded=replace(view.loaded, config=of.configs["cpu"], **fields))


def test_what_a_pod_runs_is_found_out_from_its_config() -> None:
    recovered = recover_revision(said(A), [R1], min_cosine=A.min_cosine)
    assert recovered is not None
    assert (recovered.config_ids["cpu"], recovered.digests) == (A.config_ids["cpu"], A.digests)
    assert set(recovered.configs) == {"cpu"}, "of the other profile nobody knows"


NOT_RECOVERED = {
    "it is not known": (replace(runs(1), loaded=None), [R1]),
    "its config is known": (runs(1), [R1]),
    "it embeds otherwise": (said(A, difference="cosine 0.5"), [R1]),
    "of a version nothing is known": (said(A, versions=(1, 2)), [R1]),
    "its config is not of ours": (said(A, versions=(1,)), []),
    "its config was edited": (replace(said(A), loaded=replace(said(A).loaded, config={**A.configs["cpu"], "max_batch_size": 3})), [R1]),  # type: ignore[type-var]  # it is loaded
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_RECOVERED)
def test_nothing_is_found_out_where(name: str) -> None:
    view, records = NOT_RECOVERED[name]
    assert recover_revision(view, records, min_cosine=0.999) is None


def test_there_is_no_target_where_no_version_can_serve() -> None:
    desired = desire(build_model())
    assert target_revision(build_model(), desired.versions) is None


@pytest.mark.parametrize("views", [[], [runs(1)]], ids=["no pod", "a pod serves"])
def test_a_proven_revision_whose_bytes_are_gone_counts_as_none(views: list[PodView]) -> None:
    """The volume was lost, and other bytes were synced under the same number: there is nothing by which the old ones could be proven."""
    model = build_model(build_spec({**ONE, "source": TWO["source"]}))
    job = job_name(plan_jobs(model, Observed(), RenderSettings())[1])
    observed = Observed(
        config_map=build_config_map(1),
        jobs=(build_job(job, uid="uid-1"),),
        sync_pods=(build_sync_pod("pod-1", report=build_report(sha256=SHA_2), job_uid="uid-1"),),
    )
    ledger = desire(model, observed, views=views).rollout.ledger
    assert ledger.boot is not None
    assert ledger.boot.digests == {1: SHA_2}
    assert ledger.proven is None, (
        "what a pod proved of the old bytes says nothing of these, though the config is the same"
    )
    assert ledger.previous is None


# What earlier passes and the pods say.


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
