"""When the Secret of the control key is made: it is not watched, so its absence shows in what needs it."""

from __future__ import annotations

from typing import Any

import pytest

from clipmodel_contract.control import CONTROL_KEY_VARIABLE
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.control_secret import must_make_secret, secret_in_use
from clipmodel_operator.rendering.control_key import derive_control_key, render_control_secret
from clipmodel_operator.rendering.deployment import render_deployment
from clipmodel_operator.rendering.settings import RenderSettings
from support.builders import UID, Object, build_model, build_server_pod

NAME_OF_OURS = "clip-control-ours"
SECRET: Object = {"kind": "Secret", "metadata": {"name": NAME_OF_OURS}}
RUNS = build_server_pod()
WAITS = build_server_pod("clip-1", waiting={"reason": "CreateContainerConfigError", "message": "secret not found"})
CRASHES = build_server_pod("clip-1", waiting={"reason": "CrashLoopBackOff"})


def variable(secret: str | None, name: str = CONTROL_KEY_VARIABLE) -> Object:
    """Build an environment variable that is read from a Secret, or is written out."""
    value: Object = {"valueFrom": {"secretKeyRef": {"name": secret, "key": "key"}}} if secret else {"value": "x"}
    return {"name": name, **value}


def deployment(*containers: Any) -> Object:
    """Build a Deployment whose containers have these variables."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env} for env in containers]}}}}


OURS = deployment([variable(NAME_OF_OURS)])

IN_USE: dict[str, tuple[Object | None, str | None]] = {
    "there is no Deployment": (None, None),
    "it has no template": ({"spec": {}}, None),
    "it has a spec of nothing": ({"spec": None}, None),
    "no container has a variable": (deployment(None), None),
    "it reads ours": (OURS, NAME_OF_OURS),
    "a mesh's container comes first": (deployment(None, [variable(NAME_OF_OURS)]), NAME_OF_OURS),
    "another variable comes first": (deployment([variable(None, "A"), variable(NAME_OF_OURS)]), NAME_OF_OURS),
    "another variable is read from another Secret": (deployment([variable("token", "TOKEN"), variable(NAME_OF_OURS)]), NAME_OF_OURS),
    "another variable alone is read from a Secret": (deployment([variable("token", "TOKEN")]), None),
    "the key was written out by hand": (deployment([variable(None)]), None),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_USE)
def test_which_secret_is_in_use(name: str) -> None:
    found, secret = IN_USE[name]
    assert secret_in_use(found) == secret


NEEDED: dict[str, tuple[Observed, bool]] = {
    "there is no Deployment: nothing was made yet": (Observed(), True),
    "the Deployment names it, and nobody misses it": (Observed(deployment=OURS, server_pods=(RUNS,)), False),
    "the Deployment names it, and no pod is there": (Observed(deployment=OURS), False),
    "a pod cannot start for want of it": (Observed(deployment=OURS, server_pods=(RUNS, WAITS)), True),
    "a pod cannot start for another reason": (Observed(deployment=OURS, server_pods=(CRASHES,)), False),
    "a pod has not said anything yet": (Observed(deployment=OURS, server_pods=({**RUNS, "status": {}},)), False),
    "the Deployment names another: the root key is another": (Observed(deployment=deployment([variable("clip-control-old")])), True),
    "the Deployment was edited, and names none": (Observed(deployment=deployment([])), True),
    "another variable is read from a Secret of its name": (Observed(deployment=deployment([variable(NAME_OF_OURS, "TOKEN")])), True),
}  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_whether_it_is_made(name: str) -> None:
    observed, must = NEEDED[name]
    assert must_make_secret(SECRET, observed) is must


def test_the_secret_of_a_rendered_deployment_is_found_in_it() -> None:
    model = build_model()
    secret = render_control_secret(model, derive_control_key(b"root", uid=UID))
    rendered = render_deployment(
        model,
        RenderSettings(),
        control_secret=secret["metadata"]["name"],
        strategy=UpdateStrategy(has_surge=True, why="the volume is shared"),
    )
    assert secret_in_use(rendered) == secret["metadata"]["name"]
    assert not must_make_secret(secret, Observed(deployment=rendered))
    other = render_control_secret(model, derive_control_key(b"another root", uid=UID))
    assert must_make_secret(other, Observed(deployment=rendered))
