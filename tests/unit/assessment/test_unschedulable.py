"""When would the end of an old pod give a new one its place? An old pod that serves is ended on this, so that most cases are of No."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from clipmodel_operator.assessment.unschedulable import list_refusals, would_help
from support.rolls import GPU, NO_GPU, NOT_NEAR, Object, build_deployment, build_pod, build_refused_pod

QUOTA = (
    'pods "clip-7f-x" is forbidden: exceeded quota: gpus, requested: pods=1,requests.nvidia.com/gpu=1, '
    "used: pods=1,requests.nvidia.com/gpu=1, limited: pods=1,requests.nvidia.com/gpu=1"
)
A_POOL = {"nodeSelector": {"pool": "a"}}
B_POOL = {"nodeSelector": {"pool": "b"}}
APART = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "host"}]}}}
SPREAD = {"topologySpreadConstraints": [{"topologyKey": "zone"}]}
GPU_TOLERATED = {"tolerations": [{"key": "nvidia.com/gpu"}]}


def said(*reasons: str, nodes: int = 3) -> str:
    """Say what the scheduler says."""
    return f"0/{nodes} nodes are available: {', '.join(reasons)}. preemption: 0/{nodes} nodes are available: {nodes} No preemption victims found for incoming pod."


def memory(size: str) -> Object:
    return {"requests": {"memory": size}}


@dataclass
class Case:
    message: str
    helps: bool
    old: Object | None = None
    """What the old pod asks for, and (`old_spec`) the rest of its spec."""
    new: Object | None = None
    old_spec: Object = field(default_factory=dict)
    new_spec: Object = field(default_factory=dict)
    may_move: bool = False


CASES = {
    "the last GPU is the old pod's": Case(NO_GPU, helps=True, old=GPU, new=GPU),
    "and some nodes are not for it": Case(
        said("1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }", "2 Insufficient nvidia.com/gpu"),
        helps=True, old=GPU, new=GPU,
    ),
    "the old pod has no GPU": Case(NO_GPU, helps=False, new=GPU),
    "a node is short of what it holds, all are of what it does not": Case(
        said("1 Insufficient cpu", "3 Insufficient nvidia.com/gpu"),
        helps=False, old={"requests": {"cpu": "1"}}, new={"requests": {"cpu": "1"}, **GPU},
    ),
    "the same, and the old pod's node is short of both": Case(
        said("1 Insufficient cpu", "1 Insufficient nvidia.com/gpu", nodes=1),
        helps=True, old={"requests": {"cpu": "1"}, **GPU}, new={"requests": {"cpu": "1"}, **GPU},
    ),
    "more GPUs than it has": Case(NO_GPU, helps=False, old=GPU, new={"limits": {"nvidia.com/gpu": 2}}),
    "its memory": Case(said("3 Insufficient memory"), helps=True, old=memory("4Gi"), new=memory("4096Mi")),
    "more memory than it has": Case(said("3 Insufficient memory"), helps=False, old=memory("4Gi"), new=memory("6Gi")),
    "a quantity that we cannot read": Case(said("3 Insufficient memory"), helps=False, old=memory("1e3"), new=memory("1e3")),
    "a node takes no pod more": Case(said("3 Too many pods"), helps=True),
    "one takes no pod more, none has a GPU": Case(
        said("1 Too many pods", "3 Insufficient nvidia.com/gpu"), helps=False, new=GPU
    ),
    "no node has the label": Case(said("3 node(s) didn't match Pod's node affinity/selector"), helps=False, old=GPU, new=GPU),
    "another pool is full": Case(
        said("1 Insufficient cpu", "2 node(s) didn't match Pod's node affinity/selector"),
        helps=False,
        old={"requests": {"cpu": "1"}}, new={"requests": {"cpu": "1"}}, old_spec=A_POOL, new_spec=B_POOL,
    ),
    "any pool will do now": Case(NO_GPU, helps=True, old=GPU, new=GPU, old_spec=A_POOL),
    "a taint is not tolerated any more": Case(NO_GPU, helps=False, old=GPU, new=GPU, old_spec=GPU_TOLERATED),
    "one more is tolerated": Case(NO_GPU, helps=True, old=GPU, new=GPU, new_spec=GPU_TOLERATED),
    "another node would take it and the volume": Case(NOT_NEAR, helps=True, may_move=True),
    "which other pods hold": Case(NOT_NEAR, helps=False, may_move=False),
    "one pod on each node, by the user's wish": Case(
        said("3 node(s) didn't match pod anti-affinity rules"), helps=True, old_spec=APART, new_spec=APART
    ),
    "a new wish, which the old pods were never under": Case(
        said("3 node(s) didn't match pod anti-affinity rules"), helps=False, new_spec=APART
    ),
    "spread as before": Case(
        said("3 node(s) didn't match pod topology spread constraints"), helps=True, old_spec=SPREAD, new_spec=SPREAD
    ),
    "words of another scheduler": Case("no GPU left", helps=False, old=GPU, new=GPU),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_when_no_node_takes_the_new_pod(name: str) -> None:
    case = CASES[name]
    deployment = build_deployment(resources=case.new)
    pods = [
        build_pod("clip-old", "old", resources=case.old, **case.old_spec),
        build_refused_pod(case.message, resources=case.new, **case.new_spec),
    ]
    template = deployment["spec"]["template"]
    [refusal] = list_refusals(template, deployment, pods)
    assert would_help(refusal, template, pods, may_move=case.may_move) is case.helps


def helps(deployment: Object, *pods: Object) -> bool:
    template = deployment["spec"]["template"]
    return any(would_help(r, template, pods, may_move=True) for r in list_refusals(template, deployment, pods))


def test_what_a_pod_asks_for_is_read_from_the_pod() -> None:
    """A LimitRange, or a webhook, gives requests to pods whose template has none."""
    assert helps(
        build_deployment(), build_pod("clip-old", "old", resources=GPU), build_refused_pod(NO_GPU, resources=GPU)
    )


def test_a_pod_that_never_had_a_node_holds_nothing() -> None:
    """Of two edits while no GPU is there the first one's pod waits like the second one's, beside the pod that serves."""
    serving, waiting = build_pod("clip-0", "older"), build_refused_pod(NO_GPU, template="old", resources=GPU)
    assert not helps(build_deployment(), serving, waiting)
    assert not helps(build_deployment(), serving, waiting, build_refused_pod(NO_GPU, resources=GPU))


def test_pods_that_end_neither_wait_nor_hold() -> None:
    old, refused = build_pod("clip-old", "old", resources=GPU), build_refused_pod(NO_GPU, resources=GPU)
    assert helps(build_deployment(), old, refused)
    assert not helps(build_deployment(), old, build_refused_pod(NO_GPU, resources=GPU, is_ending=True))
    assert not helps(build_deployment(), build_pod("clip-old", "old", resources=GPU, is_ending=True), refused)


@pytest.mark.parametrize(
    ("failure", "old", "new", "expected"),
    [
        (QUOTA, GPU, GPU, True),
        (QUOTA, None, GPU, False),
        (QUOTA, GPU, None, True),
        (QUOTA.replace("pods=1,", ""), GPU, {"limits": {"nvidia.com/gpu": 2}}, False),
        ('pods "x" is forbidden: error looking up service account demo/typo: serviceaccount "typo" not found', GPU, GPU, False),
        ('admission webhook "policy.example.com" denied the request: no', GPU, GPU, False),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes', None, None, False),
    ],
    ids=["the old pod's", "not the old pod's", "by a LimitRange", "more", "no service account", "a webhook", "PodSecurity"],
)  # fmt: skip
def test_when_the_new_pod_may_not_be_made(failure: str, old: Any, new: Any, *, expected: bool) -> None:
    deployment = build_deployment(failure=failure, resources=new)
    assert helps(deployment, build_pod("clip-old", "old", resources=old)) is expected
