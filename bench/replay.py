"""The same writes without an operator: what it wrote for each ClipModel is sent again to another namespace, by its own client, as many at once.

What is left between the two times is what the operator does besides writing: watching, deciding, reading, asking Triton, and waiting for others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from bench.api import Api, Object
from bench.stand_in import Write
from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models.resources import BY_KIND, CLIP_MODELS, EVENTS

#: As many as the operator has workers (app.py).
AT_ONCE = 8
#: In the order in which the operator writes them; those that it creates, and does not apply.
CHILDREN = ("PersistentVolumeClaim", "Job", "Secret", "ConfigMap", "Service", "Deployment")
CREATED = frozenset({"Job", "Secret"})
_KEPT = ("name", "labels", "annotations", "ownerReferences")
_GENERATED_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_ASSIGNED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy", "sessionAffinity")


def as_sent(kind: str, obj: Mapping[str, Any]) -> Object:
    """Turn an object from the API server into what may be sent to make it again: without what the server added."""
    sent = {k: json.loads(json.dumps(v)) for k, v in obj.items() if k not in {"metadata", "status"}}
    sent |= {
        "apiVersion": BY_KIND[kind].api_version,
        "kind": kind,
        "metadata": {k: obj["metadata"][k] for k in _KEPT if k in obj["metadata"]},
    }
    if kind == "Job":
        sent["spec"].pop("selector", None)
        for label in _GENERATED_LABELS:
            for owner in (sent["metadata"], sent["spec"]["template"]["metadata"]):
                (owner.get("labels") or {}).pop(label, None)
    if kind == "Service":
        for field in _ASSIGNED:
            sent["spec"].pop(field, None)
    return sent


def share(total: int, index: int, number: int) -> int:
    """Divide `total` writes among `number` ClipModels as evenly as can be."""
    return total // number + (index < total % number)


def model_of(kind: str, obj: Mapping[str, Any]) -> str:
    """Name the ClipModel of an object."""
    if kind == "Event":
        return str(obj["involvedObject"]["name"])
    if kind == "ClipModel":
        return str(obj["metadata"]["name"])
    return str((obj["metadata"].get("labels") or {}).get("clipmodel.dev/model", ""))


async def _all(work: Sequence[Callable[[], Awaitable[None]]]) -> float:
    """Do all of it, AT_ONCE at a time; give the seconds."""
    loop = asyncio.get_running_loop()
    queue = list(reversed(work))

    async def worker() -> None:
        while queue:
            await queue.pop()()

    started = loop.time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return loop.time() - started


class Replay:
    """What one run wrote, ready to be written again to `namespace`."""

    def __init__(self, namespace: str, objects: Mapping[str, Sequence[Object]], *, statuses: int) -> None:
        self._namespace = namespace
        self._by_model: dict[str, dict[str, list[Object]]] = {}
        for kind, found in objects.items():
            for obj in found:
                self._by_model.setdefault(model_of(kind, obj), {}).setdefault(kind, []).append(obj)
        self._by_model = {model: kinds for model, kinds in self._by_model.items() if "ClipModel" in kinds}
        self._statuses = statuses
        self.count = 0

    async def operator_writes(self, cluster: Cluster) -> float:
        """Send what the operator sent: children, statuses, events. Gives the seconds."""
        number = len(self._by_model)
        work = [
            self._chain(cluster, kinds, share(self._statuses, i, number))
            for i, kinds in enumerate(self._by_model.values())
        ]
        return await _all(work)

    def _chain(
        self, cluster: Cluster, kinds: Mapping[str, list[Object]], statuses: int
    ) -> Callable[[], Awaitable[None]]:
        """One ClipModel's writes, one after the other, as a pass sends them."""
        children = [(kind, as_sent(kind, obj)) for kind in CHILDREN for obj in kinds.get(kind, ())]
        events = [as_sent("Event", obj) for obj in kinds.get("Event", ())]
        own = kinds["ClipModel"][0]

        async def send() -> None:
            for kind, manifest in children:
                write = cluster.create_object if kind in CREATED else cluster.apply_object
                await write(BY_KIND[kind], self._namespace, manifest)
            for i in range(statuses):
                # Each one differs from the one before: the same again would cost no write.
                status = {
                    **own["status"],
                    "conditions": [
                        {**c, "message": f"{c['message'][:240]} ({i})"} for c in own["status"]["conditions"]
                    ],
                }
                metadata = {"name": own["metadata"]["name"], "namespace": self._namespace}
                manifest = {
                    "apiVersion": CLIP_MODELS.api_version,
                    "kind": CLIP_MODELS.kind,
                    "metadata": metadata,
                    "status": status,
                }
                await cluster.apply_status(CLIP_MODELS, self._namespace, manifest)
            for event in events:
                event["metadata"]["namespace"] = event["involvedObject"]["namespace"] = self._namespace
                await cluster.create_object(EVENTS, self._namespace, event)
            self.count += len(children) + statuses + len(events)

        return send


async def others_writes(api: Api, writes: Mapping[str, Sequence[Write]], *, old: str, new: str) -> tuple[float, int]:
    """Send what user and stand-in sent. Gives the seconds and the number."""

    def chain(own: Sequence[Write]) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            for write in own:
                path = write.path.replace(f"/namespaces/{old}/", f"/namespaces/{new}/")
                await api.request(write.method, path, write.body, content_type=write.content_type)

        return send

    return await _all([chain(own) for own in writes.values()]), sum(map(len, writes.values()))
