"""How pods are replaced: by where the volume can be mounted, and by whether a pod more has been refused for a while. What counts as that: test_unschedulable.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from clipmodel_operator.assessment.template import is_rolling
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.planning.update_strategy import PATIENCE_S, choose_strategy
from support.builders import NOW, build_model, build_spec
from support.rolls import GPU, NO_GPU, NOT_NEAR, Object, build_deployment, build_pod, build_refused_pod

JUST_NOW = NOW - timedelta(seconds=10)
LONG_AGO = NOW - timedelta(seconds=PATIENCE_S)
ONE_NODE = {"accessModes": ["ReadWriteOnce"]}
SHARED = {"accessModes": ["ReadWriteMany"]}
MINE = {"existingClaim": "mine"}
ANY_NODE = "the volume is ReadWriteMany"
NO_ROOM = f"there is no room for one pod more ({NO_GPU[:-1]})"


def claim(*modes: str) -> Object:
    return {"spec": {"accessModes": list(modes)}}


def stuck(*, max_surge: int = 1) -> Observed:
    """Build what is seen of a roll whose surge pod wants the GPU that the old pod has."""
    pods = (build_pod("clip-old", "old", resources=GPU), build_refused_pod(NO_GPU, resources=GPU))
    return Observed(deployment=build_deployment(replicas=2, updated=1, max_surge=max_surge), server_pods=pods)


@dataclass
class Case:
    storage: Object
    observed: Observed
    has_surge: bool
    why: str
    refused_since: datetime | None = None
    then: tuple[datetime | None, float | None] = field(default=(None, None))
    """Since when it is refused, and when to look again."""


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
        SHARED, Observed(deployment=build_deployment(replicas=3, updated=1)), has_surge=True, why=ANY_NODE
    ),
    "the surge pod is refused: that may be of a moment": Case(
        SHARED, stuck(), has_surge=True, why=ANY_NODE, then=(NOW, PATIENCE_S)
    ),
    "for a while": Case(
        SHARED, stuck(), has_surge=True, why=ANY_NODE, refused_since=JUST_NOW, then=(JUST_NOW, PATIENCE_S - 10)
    ),
    "for long": Case(SHARED, stuck(), has_surge=False, why=NO_ROOM, refused_since=LONG_AGO, then=(LONG_AGO, None)),
    "so on the node of the volume": Case(
        ONE_NODE, stuck(), has_surge=False, why=NO_ROOM, refused_since=LONG_AGO, then=(LONG_AGO, None)
    ),
    "no more: patience begins anew": Case(
        SHARED,
        Observed(deployment=build_deployment(replicas=3, updated=1), server_pods=(build_pod("clip-old", "old"),)),
        has_surge=True,
        why=ANY_NODE,
        refused_since=LONG_AGO,
    ),
    "the roll goes on without a surge to its end": Case(
        SHARED, stuck(max_surge=0), has_surge=False, why="there was no room for one pod more"
    ),
    "the next roll tries again": Case(
        SHARED,
        Observed(deployment=build_deployment(replicas=2, updated=2, max_surge=0)),
        has_surge=True,
        why=ANY_NODE,
    ),
    "a pod without a node is no surge pod where nothing rolls": Case(
        SHARED,
        Observed(
            deployment=build_deployment(replicas=2, updated=2),
            server_pods=(build_pod("clip-1", "new", resources=GPU), build_refused_pod(NO_GPU, resources=GPU)),
        ),
        has_surge=True,
        why=ANY_NODE,
        refused_since=LONG_AGO,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_how_pods_are_replaced(name: str) -> None:
    case = CASES[name]
    model = build_model(build_spec(storage=case.storage))
    strategy = choose_strategy(model, case.observed, now=NOW, refused_since=case.refused_since)
    assert (strategy.has_surge, strategy.why) == (case.has_surge, case.why)
    assert (strategy.refused_since, strategy.recheck_s) == case.then
    assert strategy.max_surge + strategy.max_unavailable == 1


@pytest.mark.parametrize(
    ("fields", "has_surge"),
    [
        ({"storage": ONE_NODE}, False),
        ({"storage": ONE_NODE, "serving": {"replicas": 2}}, True),
        ({"storage": SHARED}, True),
        (
            {
                "storage": ONE_NODE,
                "serving": {
                    "affinity": {
                        "podAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [
                                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
                            ]
                        }
                    }
                },
            },
            True,
        ),
    ],
    ids=["one pod", "two pods", "a volume for any node", "an affinity of the user's"],
)
def test_a_volume_moves_to_another_node_only_with_its_only_pod(fields: Object, *, has_surge: bool) -> None:
    observed = Observed(
        deployment=build_deployment(replicas=2, updated=1),
        server_pods=(build_pod("clip-old", "old"), build_refused_pod(NOT_NEAR)),
    )
    strategy = choose_strategy(build_model(build_spec(**fields)), observed, now=NOW, refused_since=LONG_AGO)
    assert strategy.has_surge is has_surge


def test_pods_tell_of_a_roll_before_the_deployment_counts_it() -> None:
    counted = build_deployment(replicas=1, updated=1)
    assert is_rolling(counted, [build_pod("clip-1", "old")])
    assert not is_rolling(counted, [build_pod("clip-1", "new")])
    assert not is_rolling(counted, [build_pod("clip-1", "old", is_ending=True)])
    assert not is_rolling({**counted, "spec": {"template": {}}}, [build_pod("clip-1", "old")]), "not a template of ours"


def test_a_restart_by_hand_is_a_roll_too() -> None:
    """`kubectl rollout restart` adds an annotation to the template, and ours stays as it is."""
    deployment: Any = build_deployment(replicas=1, updated=1)
    deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    assert is_rolling(deployment, [build_pod("clip-1", "new")])
