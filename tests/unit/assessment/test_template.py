"""Of which template a pod is, and whether there are pods of an earlier one: the Deployment's counts are of a moment ago, so its pods are asked too."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clipmodel_operator.assessment.template import is_of_template, is_rolling, template_of
from support.builders import Object, build_server_pod
from support.rolls import build_deployment, build_pod, build_template

OURS = build_template("new")
RESTARTED: Object = {
    **OURS,
    "metadata": {"annotations": {**OURS["metadata"]["annotations"], "kubectl.kubernetes.io/restartedAt": "2026-11-22"}},
}
NEW, OLD = build_pod("clip-1", "new"), build_pod("clip-2", "old")
BARE: Object = {"metadata": {"name": "clip-3"}}

OF: dict[str, tuple[Object, Object, bool]] = {
    "it has the template's annotation": (NEW, OURS, True),
    "it has that of an earlier template": (OLD, OURS, False),
    "it has none at all": (BARE, OURS, False),
    "it has annotations of nothing": ({"metadata": {"annotations": None}}, OURS, False),
    "somebody has added to the pod": ({"metadata": {"annotations": {**OURS["metadata"]["annotations"], "mesh": "yes"}}}, OURS, True),
    "`kubectl rollout restart` has added to the template": (NEW, RESTARTED, False),
    "it is of the template that was restarted": (RESTARTED, RESTARTED, True),
    "the template has no annotations: all are of it": (OLD, {}, True),
    "the template has annotations of nothing": (OLD, {"metadata": {"annotations": None}}, True),
}  # fmt: skip


@pytest.mark.parametrize("name", OF)
def test_whether_a_pod_is_of_a_template(name: str) -> None:
    pod, template, is_it = OF[name]
    assert is_of_template(pod, template) is is_it


TEMPLATES: dict[str, tuple[Object | None, Object]] = {
    "there is no Deployment": (None, {}),
    "it has no spec": ({}, {}),
    "it has a spec of nothing": ({"spec": None}, {}),
    "it has no template": ({"spec": {}}, {}),
    "it has one": ({"spec": {"template": OURS}}, OURS),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_which_template_it_has(name: str) -> None:
    deployment, template = TEMPLATES[name]
    assert template_of(deployment) == template


@dataclass(frozen=True)
class Case:
    deployment: Object | None
    pods: tuple[Object, ...]
    is_rolling: bool


ALL_NEW = build_deployment(replicas=2, updated=2)
NOT_OURS = {**ALL_NEW, "spec": {"template": {"metadata": {"annotations": {"team": "search"}}}}}
CASES = {
    "there is no Deployment": Case(None, (OLD,), is_rolling=False),
    "it has not counted yet, and has no pods": Case({"spec": {"template": OURS}}, (), is_rolling=False),
    "it has not counted yet, and its pods are new": Case({"spec": {"template": OURS}}, (NEW,), is_rolling=False),
    "it has not counted yet, and a pod is old": Case({"spec": {"template": OURS}, "status": None}, (NEW, OLD), is_rolling=True),
    "all that it counts are new": Case(ALL_NEW, (NEW,), is_rolling=False),
    "it counts one that is not new": Case(build_deployment(replicas=2, updated=1), (), is_rolling=True),
    "it counts none that is new, and leaves that out": Case({"spec": {}, "status": {"replicas": 1}}, (), is_rolling=True),
    "it has scaled to zero, and leaves both out": Case({"spec": {}, "status": {"observedGeneration": 4}}, (), is_rolling=False),
    "it counts more new ones than there are, for a moment": Case(build_deployment(replicas=1, updated=2), (NEW,), is_rolling=False),
    "it does not know of its new template yet: a pod tells": Case(ALL_NEW, (OLD,), is_rolling=True),
    "the old pod ends": Case(ALL_NEW, (NEW, build_pod("clip-2", "old", is_ending=True)), is_rolling=False),
    "it was restarted, and a pod was not yet": Case({**ALL_NEW, "spec": {"template": RESTARTED}}, (NEW,), is_rolling=True),
    "the template is not of ours: it says nothing of pods": Case(NOT_OURS, (OLD,), is_rolling=False),
    "the template is not of ours, and its counts do": Case({**NOT_OURS, "status": {"replicas": 2, "updatedReplicas": 1}}, (), is_rolling=True),
    "a pod that does not say its template is of another": Case(ALL_NEW, (build_server_pod(),), is_rolling=True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_whether_pods_are_replaced_when(name: str) -> None:
    case = CASES[name]
    assert is_rolling(case.deployment, case.pods) is case.is_rolling
