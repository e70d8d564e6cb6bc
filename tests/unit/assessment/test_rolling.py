"""How pods are replaced: by where the volume can be mounted, and by what the scheduler said of a pod more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from clipmodel_operator.assessment.rolling import PATIENCE_S, choose_strategy
from clipmodel_operator.models.facts import Observed
from support.builders import NOW, build_model, build_server_pod, build_spec

Object = dict[str, Any]
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
NO_MEMORY = "0/3 nodes are available: 2 Insufficient memory, 1 node(s) had untolerated taint {a: b}."
NO_NODE = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
NOT_NEAR = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod affinity rules."
FULL = "0/1 nodes are available: 1 Too many pods."
JUST_NOW = (NOW - timedelta(seconds=10)).isoformat()
LONG_AGO = (NOW - timedelta(seconds=PATIENCE_S)).isoformat()


def template(name: str, resources: Object | None = None) -> Object:
    return {
        "metadata": {"annotations": {"clipmodel.dev/template-hash": name}},
        "spec": {"containers": [{"name": "mesh"}, {"name": "triton", "resources": resources or {}}]},
    }


GPU = {"limits": {"nvidia.com/gpu": "1"}}


def deployment(
    *,
    replicas: int,
    updated: int,
    max_surge: int = 1,
    quota_since: str | None = None,
    resources: Object | None = None,
) -> Object:
    status: Object = {"replicas": replicas, "updatedReplicas": updated}
    if quota_since is not None:
        failure = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": quota_since}
        status["conditions"] = [{**failure, "message": "exceeded quota: gpus"}]
    rolling = {"rollingUpdate": {"maxSurge": max_surge}}
    return {"spec": {"strategy": rolling, "template": template("new", resources)}, "status": status}


def pod(name: str, of: Object, **fields: Any) -> Object:
    built = build_server_pod(name, **fields)
    built["metadata"]["annotations"] |= of["metadata"]["annotations"]
    return {**built, "spec": {**built["spec"], **of["spec"]}}


def claim(*modes: str) -> Object:
    return {"spec": {"accessModes": list(modes)}}


def old_pod(resources: Object | None = None) -> Object:
    return pod("clip-old", template("old", resources))


def refused(since: str, message: str = NO_GPU, *, resources: Object | None = None, is_ending: bool = False) -> Object:
    return pod("clip-new", template("new", resources), unschedulable=message, refused_at=since, is_ending=is_ending)


def stuck(message: str, *, old: Object | None = None, new: Object | None = None, since: str = LONG_AGO) -> Observed:
    """What is seen of a roll whose surge pod no node takes."""
    pods = (old_pod(old), refused(since, message, resources=new))
    return Observed(deployment=deployment(replicas=2, updated=1, resources=new), server_pods=pods)


@dataclass
class Case:
    storage: Object
    observed: Observed
    has_surge: bool
    why: str
    recheck_s: float | None = None


ONE_NODE = {"accessModes": ["ReadWriteOnce"]}
SHARED = {"accessModes": ["ReadWriteMany"]}
MINE = {"existingClaim": "mine"}
ANY_NODE = "the volume is ReadWriteMany"
CASES = {
    "ours, on one node": Case(
        ONE_NODE,
        Observed(),
        has_surge=True,
        why="the volume is ReadWriteOnce, and all pods are on the node that has it",
    ),
    "ours, on any node": Case(SHARED, Observed(), has_surge=True, why=ANY_NODE),
    "the user's, on any node": Case(
        MINE, Observed(claim=claim("ReadWriteMany")), has_surge=True, why="claim mine is ReadWriteMany"
    ),
    "the user's, on one node": Case(
        MINE,
        Observed(claim=claim("ReadWriteOnce")),
        has_surge=False,
        why="claim mine is ReadWriteOnce: on another node a pod more could not mount it",
    ),
    "the user's, read by many, written by one": Case(
        MINE,
        Observed(claim=claim("ReadWriteOnce", "ReadOnlyMany")),
        has_surge=False,
        why="claim mine is ReadWriteOnce, ReadOnlyMany: on another node a pod more could not mount it",
    ),
    "the user's, and not there": Case(
        MINE, Observed(), has_surge=False, why="it is not known where claim mine can be mounted"
    ),
    "a roll goes well": Case(
        SHARED, Observed(deployment=deployment(replicas=3, updated=1)), has_surge=True, why=ANY_NODE
    ),
    "the surge pod has no GPU for a moment": Case(
        SHARED, stuck(NO_GPU, old=GPU, new=GPU, since=JUST_NOW), has_surge=True, why=ANY_NODE, recheck_s=20.0
    ),
    "the surge pod has no GPU for long, and the old pod has one": Case(
        SHARED,
        stuck(NO_GPU, old=GPU, new=GPU),
        has_surge=False,
        why=f"there is no room for one pod more ({NO_GPU[:-1]})",
    ),
    "so on the node of the volume": Case(
        ONE_NODE,
        stuck(NO_GPU, old=GPU, new=GPU),
        has_surge=False,
        why=f"there is no room for one pod more ({NO_GPU[:-1]})",
    ),
    "the old pod has no GPU to give": Case(SHARED, stuck(NO_GPU, new=GPU), has_surge=True, why=ANY_NODE),
    "the old pod has fewer GPUs than are wanted": Case(
        SHARED, stuck(NO_GPU, old=GPU, new={"limits": {"nvidia.com/gpu": 2}}), has_surge=True, why=ANY_NODE
    ),
    "the old pod has the memory": Case(
        SHARED,
        stuck(NO_MEMORY, old={"requests": {"memory": "4Gi"}}, new={"requests": {"memory": "4096Mi"}}),
        has_surge=False,
        why=f"there is no room for one pod more ({NO_MEMORY[:-1]})",
    ),
    "a quantity that we cannot read": Case(
        SHARED,
        stuck(NO_MEMORY, old={"requests": {"memory": "1e3"}}, new={"requests": {"memory": "1e3"}}),
        has_surge=True,
        why=ANY_NODE,
    ),
    "the node takes no pod more": Case(
        SHARED, stuck(FULL), has_surge=False, why=f"there is no room for one pod more ({FULL[:-1]})"
    ),
    "no node has the label": Case(SHARED, stuck(NO_NODE, old=GPU, new=GPU), has_surge=True, why=ANY_NODE),
    "another node would take it, were the volume not here": Case(
        ONE_NODE, stuck(NOT_NEAR), has_surge=False, why=f"there is no room for one pod more ({NOT_NEAR[:-1]})"
    ),
    "a quota lets no pod more be made": Case(
        SHARED,
        Observed(
            deployment=deployment(replicas=2, updated=0, quota_since=LONG_AGO, resources=GPU),
            server_pods=(old_pod(GPU),),
        ),
        has_surge=False,
        why="there is no room for one pod more (exceeded quota: gpus)",
    ),
    "a quota lets no larger pod be made": Case(
        SHARED,
        Observed(
            deployment=deployment(replicas=2, updated=0, quota_since=LONG_AGO, resources=GPU),
            server_pods=(old_pod(),),
        ),
        has_surge=True,
        why=ANY_NODE,
    ),
    "the roll goes on without surge when the pod has got its room": Case(
        SHARED,
        Observed(deployment=deployment(replicas=2, updated=1, max_surge=0), server_pods=(old_pod(),)),
        has_surge=False,
        why="there was no room for one pod more",
    ),
    "the next roll tries again": Case(
        SHARED, Observed(deployment=deployment(replicas=2, updated=2, max_surge=0)), has_surge=True, why=ANY_NODE
    ),
    "a pod without a node is no surge pod where nothing rolls": Case(
        SHARED,
        Observed(
            deployment=deployment(replicas=2, updated=2, resources=GPU),
            server_pods=(refused(LONG_AGO, resources=GPU), pod("clip-2", template("new", GPU))),
        ),
        has_surge=True,
        why=ANY_NODE,
    ),
    "a pod that ends waits for no room": Case(
        SHARED,
        Observed(
            deployment=deployment(replicas=3, updated=1, resources=GPU),
            server_pods=(old_pod(GPU), refused(LONG_AGO, resources=GPU, is_ending=True)),
        ),
        has_surge=True,
        why=ANY_NODE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_how_pods_are_replaced(name: str) -> None:
    case = CASES[name]
    strategy = choose_strategy(build_model(build_spec(storage=case.storage)), case.observed, now=NOW)
    assert (strategy.has_surge, strategy.why, strategy.recheck_s) == (case.has_surge, case.why, case.recheck_s)
    assert strategy.max_surge + strategy.max_unavailable == 1


def test_two_pods_of_one_volume_cannot_move_one_by_one() -> None:
    spec = build_spec(storage=ONE_NODE, serving={"replicas": 2})
    assert choose_strategy(build_model(spec), stuck(NOT_NEAR), now=NOW).has_surge
