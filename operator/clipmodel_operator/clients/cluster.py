"""The Kubernetes API as we use it: lists, server-side apply, status, events. Built on kubernetes.aio's transport.

Its dynamic client asks the API server what it serves at every start; we know our kinds, so paths are made from `models/resources.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException
from typing_extensions import override

from clipmodel_operator.clients.access import REVIEWS, Access, needed_access
from clipmodel_operator.clients.api_errors import is_settled, lacks_permission, translate
from clipmodel_operator.clients.api_status import ApiStatus, parse_status
from clipmodel_operator.models.errors import (
    AlreadyExistsError,
    ClipModelError,
    ConflictError,
    GoneError,
    RejectedError,
    RetryError,
)
from clipmodel_operator.models.names import FIELD_MANAGER
from clipmodel_operator.models.resources import Resource

_TIMEOUT_S = 30
_APPLY = "application/apply-patch+yaml"
_JSON = "application/json"
# No object is ever at it: an empty store is at revision 1, and the first write takes the next.
_NEVER = "1"
Object = dict[str, Any]


class ConfigurationError(ClipModelError):
    """There is no cluster to talk to."""


class _PlainClient(client.ApiClient):  # type: ignore[misc]  # the library has no types
    """What we send is JSON already: the library would go through all of it once more, looking for objects of its own to turn into JSON."""

    @override
    def sanitize_for_serialization(self, obj: Any) -> Any:
        return obj


def build_client(configuration: client.Configuration) -> client.ApiClient:
    """Make the transport. Proxies of the environment are honoured; where it names none, nobody looks for them.

    Looking is two runs of a thread for each request, one of them for ~/.netrc.
    """
    configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
    return _PlainClient(configuration)


async def connect(*, kubeconfig: str | None = None, context: str | None = None) -> Cluster:
    """Connect with the pod's service account, or with a kubeconfig. Raises ConfigurationError where there is neither."""
    configuration = client.Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                config.load_incluster_config(client_configuration=configuration)
            except ConfigException:
                await config.load_kube_config(client_configuration=configuration)
        else:
            await config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            f"no cluster to talk to: {error}. Set KUBECONFIG, or run in a pod with a service account."
        ) from error
    return Cluster(build_client(configuration))


@dataclass(slots=True)
class Cluster:
    """A connection to one API server."""

    api: client.ApiClient

    async def close(self) -> None:
        await self.api.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = _JSON,
    ) -> Object:
        """Send one request. Raises GoneError, RejectedError or RetryError, or one of their kinds."""
        what = f"{method} {path}"
        answer = await self._send(method, path, query=query, body=body, content_type=content_type)
        if isinstance(answer, ApiStatus):
            raise await self._error_of(answer, method, path, body)
        try:
            parsed: Object = json.loads(answer) if answer else {}
        except ValueError as error:
            # A proxy's page, or an answer that was cut off.
            raise RetryError(f"{what}: the answer cannot be read: {error}") from error
        return parsed

    async def _send(
        self, method: str, path: str, *, query: Mapping[str, str] | None, body: object, content_type: str
    ) -> str | ApiStatus:
        """Give the content of a success, the Status of anything else. Raises RetryError where there is no answer."""
        try:
            serialized = await self.api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": _JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self.api.call_api(*serialized, _request_timeout=_TIMEOUT_S)
            content: str = (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"{method} {path}: the API server does not answer: {error!r}") from error
        except ApiException as error:
            return parse_status(error.status or 0, str(error.body or error.reason), error.headers)
        if not 200 <= response.status <= 299:
            return parse_status(response.status, content, response.headers)
        return content

    async def _error_of(self, status: ApiStatus, method: str, path: str, body: object) -> ClipModelError:
        """Translate, and ask first where that takes more than the answer: whose a 403 without causes is, the authorizer's or an admission plugin's."""
        what = f"{method} {path}"
        if is_settled(status):
            return translate(status, what)
        try:
            # An apply that names a uid is of an object that is there.
            is_there = isinstance(body, Mapping) and "uid" in (body.get("metadata") or {})
            missing = await self._find_missing(needed_access(method, path, may_make=not is_there), method)
        except (RetryError, RejectedError, GoneError) as error:
            unknown = f"whether the operator's role lacks a permission cannot be found out: {error}"
            return RetryError(f"{what}: {status.message[:300]} ({unknown})")
        return translate(status, what) if missing is None else lacks_permission(status, what, missing)

    async def _find_missing(self, needed: Sequence[Access], method: str) -> Access | None:
        """Find the permission for want of which a request was refused; None where there are all that it needs."""
        for access in needed:
            # Admission does not judge reads: who may not read lacks the permission.
            if method == "GET" or not await self._may(access):
                return access
        return None

    async def _may(self, access: Access) -> bool:
        """Ask the API server whether we have a permission. Raises RetryError, RejectedError or GoneError where that cannot be asked."""
        answer = await self._send("POST", REVIEWS, query=None, body=access.review, content_type=_JSON)
        if isinstance(answer, ApiStatus):
            raise translate(answer, f"POST {REVIEWS}")
        try:
            return bool(json.loads(answer)["status"]["allowed"])
        except (ValueError, KeyError, TypeError) as error:
            raise RetryError(f"POST {REVIEWS}: the answer cannot be read: {error!r}") from error

    async def list_objects(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> list[Object]:
        """List all objects of a kind, in pages of 500."""
        query = {"limit": "500"} | ({"labelSelector": label_selector} if label_selector else {})
        found: list[Object] = []
        while True:
            page = await self.request("GET", resource.path(namespace), query=query)
            # A list leaves out of its items what is the same for all.
            found += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page["items"]]
            following = page["metadata"].get("continue")
            if not following:
                return found
            query["continue"] = following

    async def get_object(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self.request("GET", resource.path(namespace, name))
        except GoneError:
            return None

    async def apply_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        """Apply a manifest on the server. We own what we render: a conflict is drift, and is repaired."""
        return await self.request(
            "PATCH",
            resource.path(namespace, manifest["metadata"]["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )

    async def apply_new_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object | None:
        """Apply a manifest of which no object may be there; None where one is, whosever it is, and that one is not touched.

        An apply that names a resourceVersion is refused unless a live object is at it; where there is no object, it is made all the same. A POST
        would make one too, but its fields would stay ours for ever: no later apply could take one away (docs/adr/0012).
        """
        metadata = {**manifest["metadata"], "resourceVersion": _NEVER}
        try:
            return await self.apply_object(resource, namespace, {**manifest, "metadata": metadata})
        except ConflictError:
            return None

    async def create_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object | None:
        """Create an object; None where there is one of the name already. Needs no right to read."""
        try:
            return await self.request(
                "POST", resource.path(namespace), query={"fieldManager": FIELD_MANAGER}, body=manifest
            )
        except AlreadyExistsError:
            return None

    async def delete_object(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete exactly the object of this uid; one that is gone, or another of its name, is left."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self.request("DELETE", resource.path(namespace, name), body=body)
        except (GoneError, ConflictError):
            # A conflict is about the only thing that we take for granted: the uid.
            return

    async def apply_status(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        """Apply the status subresource: never spec, labels or annotations. A resourceVersion in the manifest guards against a successor of the same name."""
        return await self.request(
            "PATCH",
            resource.path(namespace, manifest["metadata"]["name"], "status"),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )
