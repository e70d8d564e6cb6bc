"""Which sync Jobs there should be, and where they run: beside the pods that have the volume, and near a GPU where the volume is still to be bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.version import SyncPhase, Version
from clipmodel_operator.planning.jobs import job_name, jobs_to_create, jobs_to_keep, jobs_to_restart, plan_jobs
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import ONE, TWO, Object, build_job, build_model, build_record, build_server_pod, build_spec

DEPLOYMENT: Object = {"spec": {}}
OURS: Object = {}
ANY_NODE = {"accessModes": ["ReadWriteMany"]}
THEIRS = {"existingClaim": "mine"}
GPU = "nvidia.com/gpu"


def claim(phase: str | None) -> Object:
    return {"status": {"phase": phase} if phase else {}}


def unassigned() -> Object:
    pod = build_server_pod(unschedulable="0/1 nodes are available")
    return {**pod, "spec": {}}


def pod(node: str, **fields: Any) -> Object:
    return {**build_server_pod(f"clip-{node}", **fields), "spec": {"nodeName": node}}


@dataclass(frozen=True)
class Place:
    """Whose volume it is and what was observed; the node that the Job must go to, and whether it asks for a GPU."""

    storage: Object
    observed: Observed
    node: str | None = None
    has_gpu: bool = False


PLACES = {
    "nothing is there yet": Place(OURS, Observed(), has_gpu=True),
    "the claim has no volume yet": Place(OURS, Observed(claim=claim("Pending")), has_gpu=True),
    "the claim has no status yet": Place(OURS, Observed(claim=claim(None)), has_gpu=True),
    "the claim was made this moment": Place(OURS, Observed(claim={"status": None}), has_gpu=True),
    "the claim has its volume": Place(OURS, Observed(claim=claim("Bound"))),
    "the claim has its volume, and a pod has it mounted": Place(OURS, Observed(claim=claim("Bound"), server_pods=(pod("a"),)), node="a"),
    "the claim is lost": Place(OURS, Observed(claim=claim("Lost")), has_gpu=True),
    "the claim is the user's, and no pod has run on it": Place(THEIRS, Observed(), has_gpu=True),
    "the claim is the user's, and is not ours to look at": Place(THEIRS, Observed(claim=claim("Bound")), has_gpu=True),
    "the claim is the user's, and pods have run on it": Place(THEIRS, Observed(deployment=DEPLOYMENT)),
    "the claim is the user's, and a pod has it mounted": Place(THEIRS, Observed(deployment=DEPLOYMENT, server_pods=(pod("a"),)), node="a"),
    "the claim is ours, and a Deployment alone says nothing of it": Place(OURS, Observed(deployment=DEPLOYMENT), has_gpu=True),
    "the volume can be mounted on any node": Place(ANY_NODE, Observed(claim=claim("Bound"), server_pods=(pod("a"),))),
    "a pod has no node yet": Place(OURS, Observed(claim=claim("Bound"), server_pods=(unassigned(),))),
    "the first pod has no node yet, the second has": Place(OURS, Observed(claim=claim("Bound"), server_pods=(unassigned(), pod("b"))), node="b"),
    "a pod that ends no longer holds it": Place(OURS, Observed(claim=claim("Bound"), server_pods=(pod("a", is_ending=True),))),
    "a pod that ends, and its successor elsewhere": Place(OURS, Observed(claim=claim("Bound"), server_pods=(pod("a", is_ending=True), pod("b"))), node="b"),
}  # fmt: skip


def node_of(job: Object) -> str | None:
    """Read the node that a Job's pod is bound to."""
    affinity = job["spec"]["template"]["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ())
    return next((f["values"][0] for t in terms for f in t["matchFields"] if f["key"] == "metadata.name"), None)


@pytest.mark.parametrize("name", PLACES)
def test_where_a_job_runs_when(name: str) -> None:
    place = PLACES[name]
    model = build_model(build_spec(profile="gpu", storage=place.storage))
    (job,) = plan_jobs(model, place.observed, RenderSettings()).values()
    assert node_of(job) == place.node
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (GPU in resources["requests"]) is place.has_gpu
    assert (GPU in resources.get("limits", {})) is place.has_gpu


def test_on_cpu_no_job_asks_for_a_gpu() -> None:
    (job,) = plan_jobs(build_model(), Observed(), RenderSettings()).values()
    assert GPU not in str(job)


def test_each_version_has_its_job_and_where_it_runs_is_no_part_of_its_name() -> None:
    model = build_model(build_spec(ONE, TWO))
    before = plan_jobs(model, Observed(), RenderSettings())
    after = plan_jobs(model, Observed(claim=claim("Bound"), server_pods=(pod("a"),)), RenderSettings())
    assert set(before) == {1, 2}
    assert [job_name(j) for j in before.values()] == [job_name(j) for j in after.values()]
    assert before != after
    assert len({job_name(j) for j in before.values()}) == 2


# Which of them.

JOBS = {number: build_job(f"job-{number}") for number in range(1, 6)}


def version(number: int, phase: SyncPhase) -> Version:
    return Version(number, phase, record=build_record(number) if phase is SyncPhase.DONE else None)


D, N, R, T, F, S = (
    SyncPhase.DONE,
    SyncPhase.NO_JOB,
    SyncPhase.RUNNING,
    SyncPhase.RETRYING,
    SyncPhase.FAILED,
    SyncPhase.START_OVER,
)

#: Phases of versions 1, 2, … -> Jobs to create, to restart, and to keep.
CHOICES: dict[str, tuple[tuple[SyncPhase, ...], list[int], set[int], set[int]]] = {
    "one has no Job": ((N,), [1], set(), {1}),
    "all are done": ((D, D), [], set(), {1, 2}),
    "the highest two come first": ((N, N, N, N), [4, 3], set(), {1, 2, 3, 4}),
    "one works, and leaves room for one": ((N, N, R), [2], set(), {1, 2, 3}),
    "one that tries again works": ((N, N, T), [2], set(), {1, 2, 3}),
    "two work, and the next one waits": ((N, R, T), [], set(), {1, 2, 3}),
    "more work than may, of an earlier release": ((N, N, R, R, R), [], set(), {1, 2, 3, 4, 5}),
    "one that has failed takes no room": ((N, N, F), [2, 1], set(), {1, 2, 3}),
    "one starts over: deleted first, and made by the next pass": ((S, D), [], {1}, {2}),
    "one that starts over takes no room": ((N, N, S), [2, 1], {3}, {1, 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_which_jobs(name: str) -> None:
    phases, created, restarted, kept = CHOICES[name]
    versions = [version(i, phase) for i, phase in enumerate(phases, start=1)]
    assert [job_name(j) for j in jobs_to_create(versions, JOBS)] == [f"job-{n}" for n in created]
    assert jobs_to_restart(versions, JOBS) == {f"job-{n}" for n in restarted}
    assert jobs_to_keep(versions, JOBS) == {f"job-{n}" for n in kept}
