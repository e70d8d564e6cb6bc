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
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
JUST_NOW = (NOW - timedelta(seconds=10)).isoformat()
LONG_AGO = (NOW - timedelta(seconds=PATIENCE_S)).isoformat()


def deployment(*, replicas: int, updated: int, max_surge: int = 1, quota_since: str | None = None) -> Object:
    status: Object = {"replicas": replicas, "updatedReplicas": updated}
    if quota_since is not None:
        status["conditions"] = [
            {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": quota_since,
                "message": "exceeded quota: gpus",
            }
        ]
    return {"spec": {"strategy": {"rollingUpdate": {"maxSurge": max_surge}}}, "status": status}


def claim(*modes: str) -> Object:
    return {"spec": {"accessModes": list(modes)}}


def refused(since: str) -> Object:
    return build_server_pod("clip-new", unschedulable=NO_GPU, refused_at=since)


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
ROLLING = deployment(replicas=3, updated=1)
CASES = {
    "ours, on one node": Case(
        ONE_NODE,
        Observed(),
        has_surge=True,
        why="the volume is ReadWriteOnce, and all pods are on the node that has it",
    ),
    "ours, on any node": Case(SHARED, Observed(), has_surge=True, why="the volume is ReadWriteMany"),
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
    "a roll goes well": Case(SHARED, Observed(deployment=ROLLING), has_surge=True, why="the volume is ReadWriteMany"),
    "a surge pod has no node for a moment": Case(
        SHARED,
        Observed(deployment=ROLLING, server_pods=(refused(JUST_NOW),)),
        has_surge=True,
        why="the volume is ReadWriteMany",
        recheck_s=20.0,
    ),
    "a surge pod has no node for long": Case(
        SHARED,
        Observed(deployment=ROLLING, server_pods=(refused(LONG_AGO),)),
        has_surge=False,
        why="there is no room for one pod more (0/3 nodes are available: 3 Insufficient nvidia.com/gpu)",
    ),
    "so on the node of the volume": Case(
        ONE_NODE,
        Observed(deployment=ROLLING, server_pods=(refused(LONG_AGO),)),
        has_surge=False,
        why="there is no room for one pod more (0/3 nodes are available: 3 Insufficient nvidia.com/gpu)",
    ),
    "a quota lets no pod more be made": Case(
        SHARED,
        Observed(deployment=deployment(replicas=2, updated=0, quota_since=LONG_AGO)),
        has_surge=False,
        why="there is no room for one pod more (exceeded quota: gpus)",
    ),
    "the roll goes on without surge when the pod has got its room": Case(
        SHARED,
        Observed(deployment=deployment(replicas=2, updated=1, max_surge=0), server_pods=(build_server_pod(),)),
        has_surge=False,
        why="there was no room for one pod more",
    ),
    "the next roll tries again": Case(
        SHARED,
        Observed(deployment=deployment(replicas=2, updated=2, max_surge=0)),
        has_surge=True,
        why="the volume is ReadWriteMany",
    ),
    "a pod without a node is no surge pod where nothing rolls": Case(
        SHARED,
        Observed(deployment=deployment(replicas=2, updated=2), server_pods=(refused(LONG_AGO),)),
        has_surge=True,
        why="the volume is ReadWriteMany",
    ),
    "a pod that ends takes no room any more": Case(
        SHARED,
        Observed(
            deployment=ROLLING,
            server_pods=(build_server_pod("clip-new", unschedulable=NO_GPU, refused_at=LONG_AGO, is_ending=True),),
        ),
        has_surge=True,
        why="the volume is ReadWriteMany",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_how_pods_are_replaced(name: str) -> None:
    case = CASES[name]
    strategy = choose_strategy(build_model(build_spec(storage=case.storage)), case.observed, now=NOW)
    assert (strategy.has_surge, strategy.why, strategy.recheck_s) == (case.has_surge, case.why, case.recheck_s)
    assert strategy.max_surge + strategy.max_unavailable == 1
