"""Which permission a request needs, as RBAC names it, and how the API server is asked whether there is one."""

from __future__ import annotations

import pytest

from clipmodel_operator.clients.access import REVIEWS, Access, needed_access

APPS = "/apis/apps/v1/namespaces/demo/deployments"
CLIP = "/apis/clipmodel.dev/v1alpha1/namespaces/demo/clipmodels/clip"
DEPLOYMENT = Access("get", "apps", "deployments", namespace="demo", name="clip")
STATUS = Access("patch", "clipmodel.dev", "clipmodels", "status", namespace="demo", name="clip")

#: A request -> the permissions that it needs.
CASES: dict[str, tuple[str, str, tuple[Access, ...]]] = {
    "an object is read": ("GET", f"{APPS}/clip", (DEPLOYMENT,)),
    "objects of a namespace are listed": ("GET", APPS, (Access("list", "apps", "deployments", namespace="demo"),)),
    "objects of the cluster are listed": ("GET", "/apis/apps/v1/deployments", (Access("list", "apps", "deployments"),)),
    "the core group has no name": ("GET", "/api/v1/namespaces/demo/pods/clip-0", (Access("get", "", "pods", namespace="demo", name="clip-0"),)),
    "nodes are in no namespace": ("GET", "/api/v1/nodes", (Access("list", "", "nodes"),)),
    "a node is read": ("GET", "/api/v1/nodes/node-1", (Access("get", "", "nodes", name="node-1"),)),
    "namespaces are listed": ("GET", "/api/v1/namespaces", (Access("list", "", "namespaces"),)),
    "an object is created": ("POST", APPS, (Access("create", "apps", "deployments", namespace="demo"),)),
    "an object is replaced": ("PUT", f"{APPS}/clip", (Access("update", "apps", "deployments", namespace="demo", name="clip"),)),
    "an object is deleted": ("DELETE", f"{APPS}/clip", (Access("delete", "apps", "deployments", namespace="demo", name="clip"),)),
    "an apply may have to make the object": ("PATCH", f"{APPS}/clip", (Access("patch", "apps", "deployments", namespace="demo", name="clip"), Access("create", "apps", "deployments", namespace="demo", name="clip"))),
    "status is applied: a subresource of its own, which is never made": ("PATCH", f"{CLIP}/status", (STATUS,)),
    "a log is read": ("GET", "/api/v1/namespaces/demo/pods/clip-0/log", (Access("get", "", "pods", "log", namespace="demo", name="clip-0"),)),
    "what follows a subresource is no part of it": ("GET", "/api/v1/namespaces/demo/pods/clip-0/proxy/v2/models", (Access("get", "", "pods", "proxy", namespace="demo", name="clip-0"),)),
    "a review is asked for": ("POST", REVIEWS, (Access("create", "authorization.k8s.io", "selfsubjectaccessreviews"),)),
    "it is of no resource": ("GET", "/version", ()),
    "it is of a group alone": ("GET", "/apis/apps/v1", ()),
    "it is of the core alone": ("GET", "/api/v1", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_request_needs(name: str) -> None:
    method, path, needed = CASES[name]
    assert needed_access(method, path) == needed


def test_an_apply_of_the_very_object_makes_none() -> None:
    found = needed_access("PATCH", f"{APPS}/clip", may_make=False)
    assert [a.verb for a in found] == ["patch"]


SAID = {
    "patch clipmodels.clipmodel.dev/status in namespace demo": STATUS,
    "get deployments.apps in namespace demo": DEPLOYMENT,
    "list nodes in the whole cluster": Access("list", "", "nodes"),
    "get pods/log in namespace demo": Access("get", "", "pods", "log", "demo", "clip-0"),
}


@pytest.mark.parametrize("said", SAID)
def test_how_it_is_said(said: str) -> None:
    assert str(SAID[said]) == said


def test_the_question_leaves_out_what_is_empty() -> None:
    """An empty name stands for all objects, and an empty namespace for all namespaces; an empty subresource need not be said."""
    assert STATUS.review["spec"]["resourceAttributes"] == {
        "verb": "patch",
        "group": "clipmodel.dev",
        "resource": "clipmodels",
        "subresource": "status",
        "namespace": "demo",
        "name": "clip",
    }
    assert Access("list", "", "nodes").review["spec"]["resourceAttributes"] == {"verb": "list", "resource": "nodes"}
