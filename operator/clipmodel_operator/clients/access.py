"""Which permission a request needs, and whether the operator lacks it.

A 403 of the authorizer and one of an admission plugin are the same Status but for the words. So the API server is asked: a
SelfSubjectAccessReview (authorization.k8s.io/v1) says what may be done, and every user may make one (ClusterRole system:basic-user).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Access:
    """One permission, as roles have it."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @override
    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        what = f"{resource}/{self.subresource}" if self.subresource else resource
        return f"{self.verb} {what} " + (f"in namespace {self.namespace}" if self.namespace else "in the whole cluster")

    @property
    def review(self) -> Mapping[str, Any]:
        """The question whether the asker has it."""
        attributes = {
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "subresource": self.subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {k: v for k, v in attributes.items() if v}},
        }


def needed_access(method: str, path: str, *, may_make: bool = True) -> tuple[Access, ...]:
    """List the permissions that a request needs: its own, and `create` for an apply that may have to make the object. None where it is of no resource."""
    parts = path.strip("/").split("/")
    match parts:
        case ["api", _, *rest]:
            group = ""
        case ["apis", group, _, *rest]:
            pass
        case _:
            return ()
    namespace = ""
    match rest:
        case ["namespaces", namespace, resource, *rest]:
            pass
        case [resource, *rest]:
            pass
        case _:
            return ()
    name, subresource = (*rest, "", "")[:2]
    verb = _VERBS.get(method, "get" if name else "list")
    asked = Access(verb, group, resource, subresource, namespace, name)
    made = (replace(asked, verb="create"),) if verb == "patch" and not subresource and may_make else ()
    return (asked, *made)
