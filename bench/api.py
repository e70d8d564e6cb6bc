"""The API server as the benchmarks use it: requests and watches over one connection pool, with nothing in between that takes time.

The operator's own client is not used here, except where writes are to cost what the operator's cost (replay.py).
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from bench.errors import BenchError

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"
#: Tells in the audit log whose a request was.
USER_AGENT = "clipmodel-bench"
FIELD_MANAGER = "clipmodel-bench"
_TIMEOUT = aiohttp.ClientTimeout(total=60)
# A line of a watch is a whole object: ConfigMaps may have 1 MiB.
_LINE_BYTES = 4 << 20


class ApiError(BenchError):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _credentials(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """Read address and client certificate of the current context, as kind writes them."""
    content = yaml.safe_load(kubeconfig.read_text())
    context = next(c["context"] for c in content["contexts"] if c["name"] == content["current-context"])
    cluster = next(c["cluster"] for c in content["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in content["users"] if u["name"] == context["user"])
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    trust = ssl.create_default_context(cadata=authority)
    # The ssl module takes key and certificate from files only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(
            base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
        )
        file.flush()
        trust.load_cert_chain(file.name)
    return str(cluster["server"]), trust


class Api:
    """A connection to one API server."""

    def __init__(self, kubeconfig: Path, *, journal: Callable[[str, str, object, str], None] | None = None) -> None:
        self._server, self._trust = _credentials(kubeconfig)
        self._journal = journal

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": USER_AGENT})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, body: object = None, *, content_type: str = JSON) -> Object:
        """Send one request. Raises ApiError for any answer that is no success."""
        if self._journal is not None and method != "GET":
            self._journal(method, path, body, content_type)
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._session.request(
            method, self._server + path, data=data, headers=headers, timeout=_TIMEOUT
        ) as answer:
            content = await answer.read()
        if not 200 <= answer.status <= 299:
            raise ApiError(answer.status, f"{method} {path}: {content[:400].decode(errors='replace')}")
        parsed: Object = json.loads(content)
        return parsed

    async def apply(self, path: str, manifest: Mapping[str, Any]) -> Object:
        """Apply on the server; `path` is that of the collection."""
        target = f"{path}/{manifest['metadata']['name']}?fieldManager={FIELD_MANAGER}&force=true"
        return await self.request("PATCH", target, manifest, content_type=APPLY)

    async def get(self, path: str) -> Object | None:
        """Read an object; None where it is not there."""
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def watch(self, path: str, *, selector: str = "") -> AsyncIterator[tuple[str, Object]]:
        """Give (type, object) of what is there, and then of every change, until the caller stops. The API server ends it after an hour."""
        query = "?watch=true&timeoutSeconds=3600" + (f"&labelSelector={selector}" if selector else "")
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._session.get(self._server + path + query, timeout=timeout, read_bufsize=_LINE_BYTES) as answer:
            if answer.status != 200:
                raise ApiError(answer.status, f"GET {path}: {(await answer.read())[:400].decode(errors='replace')}")
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(500, f"the watch of {path} ended: {event['object'].get('message')}")
                yield event["type"], event["object"]


#: The collections of a namespace, by kind.
PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "Event": "/api/v1/namespaces/{}/events",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ClipModel": "/apis/clipmodel.dev/v1alpha1/namespaces/{}/clipmodels",
}


def path_of(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """Give the path of a collection, of an object in it, or of its subresource."""
    return "/".join([PATHS[kind].format(namespace), *([name] if name else []), *([subresource] if subresource else [])])


async def until(
    look: Callable[[], Any], what: str, *, deadline_s: float, seen: Callable[[], object] = str, poll_s: float = 0.05
) -> Any:
    """Await `look` again and again until it gives something. Raises BenchError when the deadline has passed."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        found = await look()
        if found:
            return found
        if loop.time() > end:
            raise BenchError(f"not within {deadline_s:.0f} s: {what}. Last seen: {seen()}")
        await asyncio.sleep(poll_s)


async def make_namespace(api: Api, name: str) -> None:
    """Make a namespace in which pods can be made: its service account comes a moment later."""
    await api.request(
        "POST",
        "/api/v1/namespaces",
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"clipmodel.dev/bench": "true"}},
        },
    )
    await until(
        lambda: api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default"),
        f"namespace {name} has its service account",
        deadline_s=60,
    )


async def delete_namespace(api: Api, name: str, *, deadline_s: float = 180) -> None:
    """Delete a namespace and wait until it is gone: what is still ending would disturb the next run."""
    if await api.get(f"/api/v1/namespaces/{name}") is None:
        return
    await api.request("DELETE", f"/api/v1/namespaces/{name}")

    async def is_gone() -> bool:
        return await api.get(f"/api/v1/namespaces/{name}") is None

    await until(is_gone, f"namespace {name} is gone", deadline_s=deadline_s, poll_s=0.5)
