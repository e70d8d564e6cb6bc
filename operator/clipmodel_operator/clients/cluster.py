"""The Kubernetes API as we use it: lists, server-side apply, status, events. Built on kubernetes.aio's transport.

Its dynamic client asks the API server what it serves at every start; we know our kinds, so paths are made from `models/resources.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException
from typing_extensions import override

from clipmodel_operator.models.errors import (
    ClipModelError,
    ConflictError,
    GoneError,
    MissingRightError,
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


# Enough for nodeSelectorTerms[0].matchExpressions[0].key and what is around it.
_PATH_LENGTH = 80


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = next((v for k, v in headers.items() if k.lower() == "retry-after"), "")
    return float(text) if text.isdigit() else None


def _invalid_fields(body: str) -> str:
    """Name the fields that the API server finds wrong, by the ends of their paths: status has no room for the whole of them. Empty where it names none."""
    try:
        causes = json.loads(body)["details"]["causes"]
        return "; ".join(f"{_short_path(str(c['field']))}: {c['message']}" for c in causes[:3] if c.get("field"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _short_path(path: str) -> str:
    """Leave out the part of a path that is longer than a line, at a field's begin."""
    tail = path[-_PATH_LENGTH:]
    return path if tail == path else f"….{tail[tail.find('.') + 1 :]}"


def translate(status: int, body: str, headers: Mapping[str, str], what: str) -> ClipModelError:
    """Turn an answer that is no success into an error of ours. `what` names the request for the message."""
    try:
        message = str(json.loads(body).get("message", "")) or body
    except (ValueError, AttributeError):
        message = body
    message = f"{what}: {message[:400] or f'HTTP {status}'}"
    match status:
        case 404 | 410:
            return GoneError(message)
        case 422 if invalid := _invalid_fields(body):
            return RejectedError(invalid[:400])
        case 400 | 405 | 415 | 422:
            return RejectedError(message)
        case 403 if "quota" in message:
            return RetryError(f"{message} (raise the quota, or delete what is not needed)")
        case 401 | 403 if status == 401 or " cannot " in message:
            kind = MissingRightError if status == 403 else RetryError
            return kind(f"{message} (the operator's role lacks this right: apply manifests/ of this release)")
        case 403 if "being terminated" in message:
            return GoneError(message)
        case 403:
            # An admission decision, such as a volume whose class cannot expand: the request itself is at fault.
            return RejectedError(message)
        case _:
            kind = ConflictError if status == 409 else RetryError
            return kind(message, retry_after_s=_retry_after_s(headers))


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
        """Send one request. Raises GoneError, RejectedError or RetryError."""
        what = f"{method} {path}"
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
            content = (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"{what}: the API server does not answer: {error!r}") from error
        except ApiException as error:
            raise translate(error.status or 0, str(error.body or error.reason), error.headers or {}, what) from error
        if not 200 <= response.status <= 299:
            raise translate(response.status, content, dict(response.headers), what)
        try:
            parsed: Object = json.loads(content) if content else {}
        except ValueError as error:
            # A proxy's page, or an answer that was cut off.
            raise RetryError(f"{what}: the answer cannot be read: {error}") from error
        return parsed

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
        except RetryError as error:
            if "already exists" in str(error):
                return None
            raise

    async def delete_object(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete exactly the object of this uid; one that is gone, or another of its name, is left."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self.request("DELETE", resource.path(namespace, name), body=body)
        except GoneError:
            return
        except RetryError as error:
            if "Precondition failed" not in str(error):
                raise

    async def apply_status(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        """Apply the status subresource: never spec, labels or annotations. A uid in the manifest guards against a successor of the same name."""
        return await self.request(
            "PATCH",
            resource.path(namespace, manifest["metadata"]["name"], "status"),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )
