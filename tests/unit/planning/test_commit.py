"""What is committed after a pass, and which pods are not where they should be: nothing is committed that a ready pod has not proven, where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.assessment.rollout import Target
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.planning.commit import config_ids, plan_commit, runs
from clipmodel_operator.planning.versions import VersionsPlan
from clipmodel_operator.rendering.config_map import Committed
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config
from support.builders import SHA_2, Object, build_model, build_record, build_server_pod, build_spec, build_view

CRASHES: dict[str, Any] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
REFUSED = Failure("ServerRejected", "Triton refuses the configuration", is_final=True)
WRONG = "version 1, golden image 0: cosine 0.5"
RECORDS = (build_record(), build_record(2, sha256=SHA_2))
FASTER: dict[str, Any] = {"batching": {"maxQueueDelay": "1ms"}}


def id_of(*versions: int, profile: Profile = Profile.CPU, **fields: Any) -> str:
    return config_id(render_config(build_model(build_spec(**fields)), versions=versions, profile=profile))


def pod(
    *versions: int,
    name: str = "clip-0",
    difference: str | None = None,
    runs_config: str | None = None,
    **of_pod: Any,
) -> PodView:
    """Build a pod that runs these versions by the config of today's spec; without versions, one that was not asked."""
    built: Object = build_server_pod(name, **of_pod)
    loads = id_of(*versions) if versions and runs_config is None else runs_config or ""
    return build_view(*versions, pod=built, config_id=loads, difference=difference)


def starting(*versions: int, **fields: Any) -> PodView:
    return pod(*versions, is_ready=False, **fields)


@dataclass(frozen=True)
class Case:
    """What serves, what should, and the pods; what is committed then, and which pods must be brought to it."""

    before: tuple[int, ...]
    target: tuple[int, ...]
    pods: Sequence[PodView]
    committed: tuple[int, ...]
    is_new: bool
    pending: tuple[str, ...] = ()
    replicas: int = 1
    paused: bool = False
    config_failure: Failure | None = None


OLD = "config of an earlier spec"
CASES = {
    # The first commit.
    "nothing can serve yet": Case((), (), [], (), is_new=False),
    "the first one is proven by the startup probe alone": Case((), (1,), [], (1,), is_new=True),
    "the first one does not wait for a pod that is on its way": Case((), (1,), [starting()], (1,), is_new=True),
    # Ready pods prove it.
    "a ready pod does not run it yet": Case((1,), (2,), [pod(1)], (1,), is_new=False, pending=("clip-0",)),
    "a ready pod has proven it": Case((1,), (2,), [pod(2)], (2,), is_new=True),
    "one of two ready pods has proven it": Case((1,), (2,), [pod(1), pod(2, name="clip-1")], (1,), is_new=False, pending=("clip-0",)),
    "a pod that is not ready is not waited for": Case((1,), (2,), [pod(2), starting(name="clip-1")], (2,), is_new=True),
    "a pod that ends is not waited for": Case((1,), (2,), [pod(2), pod(1, name="clip-1", is_ending=True)], (2,), is_new=True),
    "a ready pod answers wrongly": Case((1,), (2,), [pod(2, difference=WRONG)], (1,), is_new=False, pending=("clip-0",)),
    "a ready pod does not answer": Case((1,), (2,), [pod()], (1,), is_new=False, pending=("clip-0",)),
    "the versions stay and the config is another": Case((1,), (1,), [pod(1, runs_config=OLD)], (1,), is_new=False, pending=("clip-0",)),
    "all runs as it should": Case((1,), (1,), [pod(1)], (1,), is_new=True),
    "the target was brought back to what is committed, and a pod was not": Case((1,), (1,), [pod(1), pod(2, name="clip-1")], (1,), is_new=False, pending=("clip-1",)),
    # Without a ready pod.
    "no pod is wanted": Case((1,), (2,), [], (2,), is_new=True, replicas=0),
    "no pod is wanted, and the last one is on its way": Case((1,), (2,), [starting()], (2,), is_new=True, replicas=0),
    "no pod is wanted, and the last one is still ready": Case((1,), (2,), [pod(1)], (1,), is_new=False, pending=("clip-0",), replicas=0),
    "no pod is there yet": Case((1,), (2,), [], (1,), is_new=False),
    "a pod is on its way": Case((1,), (2,), [starting()], (1,), is_new=False),
    "what is committed does not start": Case((1,), (2,), [pod(**CRASHES)], (2,), is_new=True),
    "what is committed starts and answers wrongly": Case((1,), (2,), [starting(1, difference=WRONG)], (2,), is_new=True),
    "one does not start and another is on its way": Case((1,), (2,), [pod(**CRASHES), starting(name="clip-1")], (1,), is_new=False),
    "one does not start and another ends": Case((1,), (2,), [pod(**CRASHES), starting(name="clip-1", is_ending=True)], (2,), is_new=True),
    "all that there are end": Case((1,), (2,), [pod(1, is_ending=True)], (1,), is_new=False),
    # A pod that read its config before the last commit.
    "a pod started by the config before the last commit": Case((2,), (2,), [pod(2), starting(1, name="clip-1")], (2,), is_new=True, pending=("clip-1",)),
    "a pod started by the last commit": Case((2,), (2,), [pod(2), starting(2, name="clip-1")], (2,), is_new=True),
    "a pod that started too early ends": Case((2,), (2,), [pod(2), starting(1, name="clip-1", is_ending=True)], (2,), is_new=True),
    "a pod starts, and has not said what it read": Case((2,), (2,), [pod(2), starting(name="clip-1")], (2,), is_new=True),
    "a pod starts by what is committed while another version is proven": Case((1,), (2,), [pod(1), starting(1, name="clip-1")], (1,), is_new=False, pending=("clip-0",)),
    # What is committed stays.
    "the config as a whole has failed": Case((1,), (2,), [pod(1)], (1,), is_new=False, config_failure=REFUSED),
    "the config as a whole has failed, and one of two pods runs it": Case((1,), (2,), [pod(1), pod(2, name="clip-1")], (1,), is_new=False, config_failure=REFUSED),
    "the config as a whole has failed, and no pod is there to prove it": Case((1,), (2,), [], (1,), is_new=False, replicas=0, config_failure=REFUSED),
    "the config as a whole has failed, and the first pod does not start": Case((), (1,), [pod(**CRASHES)], (), is_new=False, config_failure=REFUSED),
    "the config as a whole has failed, and the pod answers wrongly still": Case((1,), (1,), [pod(1, difference=WRONG)], (1,), is_new=False, config_failure=REFUSED),
    "the config as a whole had failed, and every ready pod has proven it since": Case((1,), (1,), [pod(1)], (1,), is_new=True, config_failure=REFUSED),
    "it is paused": Case((1,), (2,), [pod(2)], (1,), is_new=False, paused=True),
    "it is paused before anything served": Case((), (1,), [], (), is_new=False, paused=True),
    "nothing can serve any more, and pods run": Case((1,), (), [pod(1)], (1,), is_new=False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_committed_when(name: str) -> None:
    case = CASES[name]
    model = build_model(build_spec(serving={"replicas": case.replicas}, paused=case.paused))
    before = Committed(case.before, RECORDS)
    versions = VersionsPlan((), (), {}, before, RECORDS, (), Target(case.target, case.target))
    plan = plan_commit(model, versions, case.pods, config_failure=case.config_failure)
    assert plan.committed.versions == case.committed
    assert plan.is_new_config is case.is_new
    assert tuple(v.pod["metadata"]["name"] for v in plan.pending) == case.pending
    assert plan.committed.records == (RECORDS if case.committed else ()), "records without versions are no commit"


def test_each_profile_has_its_own_config() -> None:
    """While the profile changes, pods of both are there: each is compared with its own."""
    gpu, cpu = build_server_pod("clip-0", profile="gpu"), build_server_pod("clip-1")
    views = [
        build_view(1, pod=gpu, config_id=id_of(1, profile=Profile.GPU)),
        build_view(1, pod=cpu, config_id=id_of(1)),
    ]
    ids = config_ids(build_model(), (1,), views)
    assert ids == {"cpu": id_of(1), "gpu": id_of(1, profile=Profile.GPU)}
    assert all(runs(v, ids) for v in views)
    swapped = [
        build_view(1, pod=gpu, config_id=id_of(1)),
        build_view(1, pod=cpu, config_id=id_of(1, profile=Profile.GPU)),
    ]
    assert not any(runs(v, ids) for v in swapped)


def test_there_is_no_config_of_no_versions_nor_of_a_profile_that_no_pod_has() -> None:
    assert config_ids(build_model(), (), [build_view(1)]) == {}
    assert config_ids(build_model(), (1,), []) == {}
    assert set(config_ids(build_model(), (1,), [build_view(1)])) == {"cpu"}


def test_a_config_is_of_the_whole_spec_and_not_of_versions_alone() -> None:
    ids = config_ids(build_model(build_spec(**FASTER)), (1,), [build_view(1)])
    assert not runs(build_view(1, config_id=id_of(1)), ids)
    assert runs(build_view(1, config_id=id_of(1, **FASTER)), ids)
