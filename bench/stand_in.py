"""Stands in for controllers, scheduler and kubelet: claims are bound, Jobs end with a sync report, Deployments get a pod that is ready.

It writes what those would have written last, at once: no image is pulled and no container runs. Each write is kept, so that it can be
repeated for comparison (replay.py).
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from bench import fake_triton
from bench.api import JSON, MERGE, Api, ApiError, Object, path_of
from bench.fake_triton import FakeTriton
from clipmodel_contract.report import VersionRecord, canonical_signature, render_report
from clipmodel_contract.tensors import Tensors

# No such node: no kubelet looks at the pods.
_NODE = "bench-node"
_SELECTOR = "app.kubernetes.io/managed-by=clipmodel-operator"
_AT_ONCE = 16
SIZE_BYTES = 351_285_667


@dataclass(frozen=True, slots=True)
class Write:
    """One write, as it was sent."""

    method: str
    path: str
    body: Object
    content_type: str


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind: str, now: str) -> Object:
    return {"type": kind, "status": "True", "lastTransitionTime": now, "reason": "StandIn", "message": ""}


def render_success(*, version: int, sha256: str, vectors: list[str]) -> str:
    """Render what a sync Job reports (docs/spec/sync.md)."""
    signature = canonical_signature(Tensors().to_signature())
    return render_report(VersionRecord(version, sha256, SIZE_BYTES, signature, tuple(vectors)))


def render_pod(owner: Object, name: str) -> Object:
    """Render the pod of a Job or a Deployment, on a node that is not there."""
    template, metadata = owner["spec"]["template"], owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    labels, annotations = (template["metadata"].get(part) or {} for part in ("labels", "annotations"))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": [reference]},
        "spec": {**template["spec"], "nodeName": _NODE},
    }


def render_container(pod: Object, *, state: Object, is_ready: bool) -> Object:
    container = pod["spec"]["containers"][0]
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "containerID": f"standin://{pod['metadata']['name']}",
        "ready": is_ready,
        "started": is_ready,
        "restartCount": 0,
        "state": state,
    }


class StandIn:
    """Watches what the operator makes in one namespace, and answers each object once."""

    def __init__(self, api: Api, namespace: str, triton: FakeTriton) -> None:
        self._api, self._namespace, self._triton = api, namespace, triton
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: set[str] = set()
        self.writes: dict[str, list[Write]] = defaultdict(list)
        """By model, in their order."""
        self.failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        for kind, answer in (
            ("PersistentVolumeClaim", self._claim),
            ("Job", self._job),
            ("Deployment", self._deployment),
        ):
            self._spawn(self._follow(kind, answer))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whoever waits for the end must hear of it
                self.failure = self.failure or error

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, kind: str, answer: Callable[[Object], Awaitable[None]]) -> None:
        async for what, obj in self._api.watch(path_of(kind, self._namespace), selector=_SELECTOR):
            uid = obj["metadata"]["uid"]
            if what == "ADDED" and uid not in self._done:
                self._done.add(uid)
                self._spawn(self._limited(answer, obj))

    async def _limited(self, answer: Callable[[Object], Awaitable[None]], obj: Object) -> None:
        async with self._limit:
            try:
                await answer(obj)
            except ApiError as error:
                if error.status != 404:  # it was deleted meanwhile
                    raise

    async def write(self, model: str, method: str, path: str, body: Object, content_type: str = JSON) -> Object:
        """Send a write and keep it."""
        self.writes[model].append(Write(method, path, body, content_type))
        return await self._api.request(method, path, body, content_type=content_type)

    async def _patch_status(self, model: str, kind: str, name: str, status: Object) -> None:
        await self.write(model, "PATCH", path_of(kind, self._namespace, name, "status"), {"status": status}, MERGE)

    async def _claim(self, claim: Object) -> None:
        status = {
            "phase": "Bound",
            "accessModes": ["ReadWriteOnce"],
            "capacity": claim["spec"]["resources"]["requests"],
        }
        await self._patch_status(_model_of(claim), "PersistentVolumeClaim", claim["metadata"]["name"], status)

    async def _job(self, job: Object) -> None:
        model, name = _model_of(job), job["metadata"]["name"]
        arguments: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
        given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        report = render_success(version=int(given["version"]), sha256=given["sha256"], vectors=self._triton.vectors)
        pod = render_pod({"apiVersion": "batch/v1", "kind": "Job", **job}, _pod_name(job))
        await self.write(model, "POST", path_of("Pod", self._namespace), pod)
        now = _now()
        ended = {
            "terminated": {"exitCode": 0, "reason": "Completed", "message": report, "startedAt": now, "finishedAt": now}
        }
        containers = [render_container(pod, state=ended, is_ready=False)]
        await self._patch_status(
            model, "Pod", pod["metadata"]["name"], {"phase": "Succeeded", "containerStatuses": containers}
        )
        conditions = [_condition("SuccessCriteriaMet", now), _condition("Complete", now)]
        status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
        await self._patch_status(model, "Job", name, status)

    async def _deployment(self, deployment: Object) -> None:
        model, name = _model_of(deployment), deployment["metadata"]["name"]
        config = await self._api.request("GET", path_of("ConfigMap", self._namespace, f"{name}-config"))
        known = json.loads(config["data"]["versions.json"])
        self._triton.configs[known["model"]] = fake_triton.read_config(config["data"])
        pod = render_pod({"apiVersion": "apps/v1", "kind": "Deployment", **deployment}, _pod_name(deployment))
        await self.write(model, "POST", path_of("Pod", self._namespace), pod)
        now = _now()
        ip = fake_triton.address(int(name.rsplit("-", 1)[1]))
        status = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [
                _condition(kind, now) for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
            "containerStatuses": [render_container(pod, state={"running": {"startedAt": now}}, is_ready=True)],
        }
        await self._patch_status(model, "Pod", pod["metadata"]["name"], status)
        counts: dict[str, Any] = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), 1)
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            **counts,
            "conditions": [_condition("Available", now)],
        }
        await self._patch_status(model, "Deployment", name, status)


def _pod_name(owner: Object) -> str:
    """Name a pod, as controllers do, so that an owner made anew gets another one."""
    return f"{owner['metadata']['name']}-{owner['metadata']['uid'][:5]}"


def _model_of(obj: Object) -> str:
    return str(obj["metadata"]["labels"]["clipmodel.dev/model"])
