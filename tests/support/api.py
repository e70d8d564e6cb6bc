"""The API server, asked by this process over connections that are kept: a look takes milliseconds, where a kubectl process takes a quarter of a second of a core.

What is refused is an ApiError with the API server's own words, which are those that kubectl prints.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

Object = dict[str, Any]

_TIMEOUT_S = 60.0
#: The media types of the kinds of patches, by kubectl's names for them.
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(AssertionError):
    """The API server said no, or could not be asked; its own words are the message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Kind:
    """Where objects of a kind are found."""

    kind: str
    api_version: str
    plural: str
    is_namespaced: bool = True

    def path(self, namespace: str | None, name: str = "") -> str:
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        within = f"/namespaces/{namespace}" if self.is_namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{quote(name)}" if name else "")


_ADMISSION, _RBAC = "admissionregistration.k8s.io/v1", "rbac.authorization.k8s.io/v1"
KINDS = (
    Kind("ClipModel", "clipmodel.dev/v1alpha1", "clipmodels"),
    Kind("ConfigMap", "v1", "configmaps"),
    Kind("Event", "v1", "events"),
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
    Kind("Pod", "v1", "pods"),
    Kind("Secret", "v1", "secrets"),
    Kind("Service", "v1", "services"),
    Kind("ServiceAccount", "v1", "serviceaccounts"),
    Kind("Deployment", "apps/v1", "deployments"),
    Kind("ReplicaSet", "apps/v1", "replicasets"),
    Kind("Job", "batch/v1", "jobs"),
    Kind("RoleBinding", _RBAC, "rolebindings"),
    Kind("Namespace", "v1", "namespaces", is_namespaced=False),
    Kind("Node", "v1", "nodes", is_namespaced=False),
    Kind("ClusterRoleBinding", _RBAC, "clusterrolebindings", is_namespaced=False),
    Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", is_namespaced=False),
    Kind("RuntimeClass", "node.k8s.io/v1", "runtimeclasses", is_namespaced=False),
    Kind("ValidatingWebhookConfiguration", _ADMISSION, "validatingwebhookconfigurations", is_namespaced=False),
    Kind("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions", is_namespaced=False),
)
_SHORT = {"clip": "clipmodel", "pvc": "persistentvolumeclaim"}
_BY_NAME = {name: kind for kind in KINDS for name in (kind.kind.lower(), kind.plural)}


def find_kind(name: str) -> Kind:
    """Find a kind by a name that kubectl would take: any case, singular or plural, or short."""
    lower = name.lower()
    return _BY_NAME[_SHORT.get(lower, lower)]


class Api:
    """One API server, as the user of a kubeconfig."""

    def __init__(self, kubeconfig: str) -> None:
        from kubernetes import client, config  # a second of imports

        settings = client.Configuration()
        config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
        self._host = settings.host
        self._authorization = settings.get_api_key_with_prefix("authorization")
        self._pool: urllib3.PoolManager = client.ApiClient(settings).rest_client.pool_manager

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Ask, and give the body of the answer. Raises ApiError for anything but success."""
        sent = {"Accept": "application/json", "Content-Type": content_type, **(headers or {})}
        if self._authorization:
            sent["Authorization"] = self._authorization
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        try:
            # A kept connection may have been closed meanwhile: only what can be asked twice is asked again.
            answer = self._pool.request(
                method, url, body=data, headers=sent, timeout=_TIMEOUT_S, retries=urllib3.Retry(3, status=0, redirect=0)
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(0, f"{method} {path}: {error}") from error
        if answer.status >= 300:
            raise ApiError(answer.status, _words(answer.data))
        return answer.data

    def ask(self, method: str, path: str, **more: Any) -> Object:
        """Ask, and give the object that is the answer."""
        found: Object = json.loads(self.request(method, path, **more))
        return found


def _words(content: bytes) -> str:
    """Give a Status's message; of anything else all of it."""
    text = content.decode(errors="replace")
    try:
        status = json.loads(text)
    except ValueError:
        return text
    return str(status.get("message", text)) if isinstance(status, dict) else text


@functools.cache
def connect(kubeconfig: str) -> Api:
    """Give this process's one client for a kubeconfig."""
    return Api(kubeconfig)


def without_managed_fields(obj: Object) -> Object:
    """Leave out what kubectl does not show either."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
