"""Reading a cluster for a person: with the rights of the user's kubeconfig, and with errors that say what that user can do.

The operator's own client (clients/cluster.py) sorts errors by whether waiting helps, and speaks of the operator's role; a person at a terminal
needs to know which right is missing, or that this is the wrong cluster.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException

from clipmodel_operator.clients.api_status import FORBIDDEN, ApiStatus, parse_status
from clipmodel_operator.clients.cluster import Cluster, connect
from clipmodel_operator.models.errors import ClipModelError
from clipmodel_operator.models.resources import CLIP_MODELS, PODS, Resource

# A person waits for it: a healthy API server answers within a second, a cold credential plugin takes several.
_TIMEOUT_S = 15.0
_POD_TIMEOUT_S = 5.0
_MESSAGE_LENGTH = 300
_IN_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
Object = dict[str, Any]


class ReadError(ClipModelError):
    """The cluster cannot be asked, or does not answer."""


class ReadForbiddenError(ReadError):
    """The user lacks a right."""


class AbsentError(ReadError):
    """There is no such object, or no such kind."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where kubectl would look; without a name it is the pod's own service account."""

    name: str | None
    namespace: str


def find_context(kubeconfig: str | None, context: str | None) -> Context:
    """Find what kubectl would take. Raises ReadError with what there is instead."""
    try:
        contexts, active = config.list_kube_config_contexts(kubeconfig)
    except (ConfigException, OSError, TypeError, yaml.YAMLError) as error:
        if kubeconfig is None and context is None and _IN_POD_NAMESPACE.exists():
            return Context(None, _IN_POD_NAMESPACE.read_text("utf-8").strip())
        raise ReadError(
            f"{kubeconfig or '~/.kube/config'} is no kubeconfig with a context to use. Set KUBECONFIG, or give --kubeconfig (and --context)."
        ) from error
    chosen = active if context is None else next((c for c in contexts if c["name"] == context), None)
    if chosen is None:
        there = ", ".join(sorted(str(c["name"]) for c in contexts))
        raise ReadError(f"there is no context {context}; {f'there are: {there}' if there else 'there is none at all'}")
    return Context(str(chosen["name"]), str((chosen.get("context") or {}).get("namespace") or "default"))


def explain(status: ApiStatus, what: str) -> ReadError:
    """Turn an answer that is no success into what the user can do."""
    message = status.message[:_MESSAGE_LENGTH]
    match status.code:
        case 401:
            return ReadError(f"the cluster does not know you ({message}): log in again, or choose another --context")
        case 403 if status.reason == FORBIDDEN:
            return ReadForbiddenError(
                f"you may not do this: {message}. Ask for the role `view` in that namespace (`edit` to ask pods what they have loaded)."
            )
        case 404:
            return AbsentError(f"{what}: {message}")
        case _:
            # Also a 403 that is none of the API server's: of a proxy before it, or of a pod that was asked through it.
            return ReadError(f"{what}: the answer is HTTP {status.code}: {message}")


def _words_of(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)


@dataclass(slots=True)
class Reader:
    """A connection with a person's rights."""

    cluster: Cluster
    namespace: str
    """The context's."""

    @classmethod
    async def connect(cls, *, kubeconfig: str | None, context: str | None) -> Reader:
        """Connect as kubectl would. Raises ClipModelError where there is no cluster to talk to."""
        # The library reads KUBECONFIG once, when it is imported.
        file = kubeconfig or os.environ.get("KUBECONFIG") or None
        found = find_context(file, context)
        return cls(await connect(kubeconfig=file, context=found.name), found.namespace)

    async def close(self) -> None:
        await self.cluster.close()

    async def read(self, path: str, query: Mapping[str, str] | None = None, *, limit_s: float = _TIMEOUT_S) -> str:
        """Read what is at a path. Raises ReadError and its kinds."""
        api = self.cluster.api
        try:
            request = await api.param_serialize(
                "GET",
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json, */*"},
                auth_settings=["BearerToken"],
            )
            response = await api.call_api(*request, _request_timeout=limit_s)
            content: str = (await response.read()).decode(errors="replace")
        except ApiException as error:
            raise explain(parse_status(error.status or 0, str(error.body or error.reason)), path) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            host = api.configuration.host
            raise ReadError(
                f"the cluster at {host} does not answer: {_words_of(error)}. "
                "Does it run, and is it the one you mean (--context)?"
            ) from error
        if not 200 <= response.status <= 299:
            raise explain(parse_status(response.status, content), path)
        return content

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Get an object; None where there is none."""
        try:
            found: Object = json.loads(await self.read(resource.path(namespace, name)))
        except AbsentError:
            return None
        return found

    async def list(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "", at_most: int = 2000
    ) -> list[Object]:
        """List objects of a kind in a namespace, or (None) in all of them."""
        query = {"limit": "500"}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        found: list[Object] = []
        while len(found) < at_most:
            try:
                page = json.loads(await self.read(resource.path(namespace), query))
            except AbsentError as error:
                if resource is CLIP_MODELS:
                    raise AbsentError(
                        "the cluster does not know the kind ClipModel. Is it the right cluster (--context)? "
                        "If so, install the operator: manifests/README.md"
                    ) from error
                raise
            # A list leaves out of its items what is the same for all.
            found += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page["items"]]
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        return found

    async def log(self, namespace: str, pod: str, *, lines: int) -> str:
        """Give the last lines of a pod's log."""
        path = PODS.path(namespace, pod, "log")
        return await self.read(path, {"tailLines": str(lines)}, limit_s=_POD_TIMEOUT_S)

    async def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> str:
        """Ask a pod over HTTP, through the API server: needs the right to get pods/proxy."""
        return await self.read(PODS.path(namespace, f"{pod}:{port}", f"proxy{path}"), limit_s=_POD_TIMEOUT_S)
