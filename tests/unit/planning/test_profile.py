"""Which profile a ClipModel runs with, as far as it is known without nodes, and what nodes say where it is not. That a choice stays: tests/sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models import names
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.planning.profile import choose_profile, known_profile, with_profile
from support.builders import Object, build_model, build_spec

GPU = "nvidia.com/gpu"


def running(profile: str | None) -> Object:
    """Build a Deployment whose pods read the config of a profile, or do not say which."""
    annotations = {names.ANNOTATION_PROFILE: profile} if profile is not None else None
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}


#: What the spec says, what runs, what status says -> what is known.
KNOWN: dict[str, tuple[str, Object | None, Object, Profile | None]] = {
    "the spec says it": ("cpu", None, {}, Profile.CPU),
    "the spec says it against what runs and was recorded": ("gpu", running("cpu"), {"profile": "cpu"}, Profile.GPU),
    "auto, and nothing is there": ("auto", None, {}, None),
    "auto, and pods run": ("auto", running("gpu"), {}, Profile.GPU),
    "auto, and what runs counts more than what status says": ("auto", running("gpu"), {"profile": "cpu"}, Profile.GPU),
    "auto, and the Deployment is gone": ("auto", None, {"profile": "gpu"}, Profile.GPU),
    "auto, and the Deployment does not say": ("auto", running(None), {"profile": "cpu"}, Profile.CPU),
    "auto, and the Deployment says something unknown": ("auto", running("tpu"), {}, None),
    "auto, and the Deployment has no template": ("auto", {"spec": {}}, {}, None),
    "auto is no choice, whoever says it": ("auto", running("auto"), {"profile": "auto"}, None),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_without_nodes(name: str) -> None:
    said, deployment, status, known = KNOWN[name]
    model = build_model(build_spec(profile=said), status=status)
    assert known_profile(model, Observed(deployment=deployment)) is known


def node(allocatable: Mapping[str, str] | None = None, *, is_open: bool = True) -> dict[str, Any]:
    return {
        "spec": {} if is_open else {"unschedulable": True},
        "status": {"allocatable": {"cpu": "2", **(allocatable or {})}},
    }


CHOSEN: dict[str, tuple[list[dict[str, Any]], Profile]] = {
    "no node at all": ([], Profile.CPU),
    "no GPU": ([node()], Profile.CPU),
    "a GPU that has failed": ([node({GPU: "0"})], Profile.CPU),
    "a node that takes no pods": ([node({GPU: "1"}, is_open=False)], Profile.CPU),
    "another resource": ([node({"nvidia.com/mig-1g.10gb": "7"})], Profile.CPU),
    "one of two nodes": ([node(), node({GPU: "8"})], Profile.GPU),
    "a node that has not reported": ([{"metadata": {"name": "new"}}], Profile.CPU),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_what_nodes_decide(name: str) -> None:
    nodes, chosen = CHOSEN[name]
    assert choose_profile(nodes, resource=GPU) is chosen


def test_the_choice_takes_the_place_of_auto_and_of_nothing_else() -> None:
    model = build_model(build_spec(profile="auto", batching={"maxQueueDelay": "7ms"}))
    chosen = with_profile(model, Profile.GPU)
    assert chosen.spec.profile is Profile.GPU
    assert with_profile(chosen, Profile.AUTO) == model
    assert model.spec.profile is Profile.AUTO, "what was given is left as it was"
