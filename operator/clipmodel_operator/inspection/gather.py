"""What is read of ClipModels to show them: the resources, their pods, the sync Jobs' logs, events, and what each Triton has loaded.

What the user may not read is left out, and said; only the ClipModel itself is needed. Triton's statistics endpoint is one of those that clients
may ask (its control endpoints are not), reached through the API server's proxy to the pod.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from clipmodel_contract.ports import HTTP_PORT
from clipmodel_operator.assessment.pods import is_running
from clipmodel_operator.clients.reader import ReadForbiddenError
from clipmodel_operator.inspection.overview import Found
from clipmodel_operator.models import names
from clipmodel_operator.models.errors import ClipModelError
from clipmodel_operator.models.resources import CLIP_MODELS, EVENTS, PODS, Resource

T = TypeVar("T")
Object = dict[str, Any]
# All at once would be a burst on the API server where somebody has hundreds of pods.
_REQUESTS_AT_ONCE = 8
#: Events of these kinds tell why something does not start.
_CHILD_KINDS = frozenset({"Pod", "Job", "Deployment", "ReplicaSet", "PersistentVolumeClaim"})


class Reads(Protocol):
    """The part of a cluster that is read. Every method raises ClipModelError where it cannot."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None: ...
    async def list(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "", at_most: int = 2000
    ) -> list[Object]: ...
    async def log(self, namespace: str, pod: str, *, lines: int) -> str: ...
    async def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> str: ...


class NoSuchClipModelError(ClipModelError):
    """There is no ClipModel of that name."""


async def find_clip(reads: Reads, namespace: str, name: str) -> Object:
    """Get a ClipModel. Raises NoSuchClipModelError with those that there are."""
    clip = await reads.get(CLIP_MODELS, namespace, name)
    if clip is not None:
        return clip
    here = [c["metadata"]["name"] for c in await reads.list(CLIP_MODELS, namespace)]
    message = f"there is no ClipModel {name} in namespace {namespace}"
    try:
        everywhere = await reads.list(CLIP_MODELS, None)
    except ClipModelError:
        everywhere = []  # no right to look elsewhere: then what is here must do
    elsewhere = [c["metadata"]["namespace"] for c in everywhere if c["metadata"]["name"] == name]
    if elsewhere:
        raise NoSuchClipModelError(f"{message}; there is one in {', '.join(elsewhere)}: -n {elsewhere[0]}")
    if here:
        raise NoSuchClipModelError(f"{message}; there are: {', '.join(sorted(here))}")
    raise NoSuchClipModelError(f"{message}, nor any other. Look everywhere: clipmodel status -A")


@dataclass(slots=True)
class Gatherer:
    """Reads again and again, and remembers what it may not read: a refused question is not repeated every second."""

    reads: Reads
    refused: dict[str, str] = field(default_factory=dict)
    """Notes, by what was refused."""

    async def _unless_refused(self, what: str, read: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Read, unless this was refused before. Errors other than a refusal pass through."""
        if what in self.refused:
            return otherwise
        try:
            return await read()
        except ReadForbiddenError as error:
            self.refused[what] = f"{what} cannot be shown: {error}"
            return otherwise

    async def one(self, namespace: str, name: str) -> Found:
        """Read all that there is to one ClipModel."""
        clip = await find_clip(self.reads, namespace, name)
        pods = await self._pods(namespace, f"{names.LABEL_MODEL}={name}")
        logs, stats, events = await asyncio.gather(
            self._logs(namespace, pods), self._stats(clip, pods), self._events(clip, pods)
        )
        return Found(clip, pods, events, logs, stats, tuple(self.refused.values()))

    async def many(self, namespace: str | None) -> list[Found]:
        """Read all ClipModels of a namespace or (None) of all, in few requests; with their pods and Jobs' logs, which a list shows."""
        clips = await self.reads.list(CLIP_MODELS, namespace)
        pods = await self._pods(namespace, names.MANAGED_SELECTOR)
        of: dict[tuple[str, str], list[Object]] = defaultdict(list)
        for pod in pods:
            metadata = pod["metadata"]
            of[metadata["namespace"], (metadata.get("labels") or {}).get(names.LABEL_MODEL, "")].append(pod)
        notes = tuple(self.refused.values())
        found = []
        for clip in sorted(clips, key=lambda c: (c["metadata"]["namespace"], c["metadata"]["name"])):
            mine = of[clip["metadata"]["namespace"], clip["metadata"]["name"]]
            found.append(Found(clip, mine, logs=await self._logs(clip["metadata"]["namespace"], mine), notes=notes))
        return found

    async def _pods(self, namespace: str | None, labels: str) -> list[Object]:
        return await self._unless_refused("pods", lambda: self.reads.list(PODS, namespace, labels=labels), [])

    async def _logs(self, namespace: str, pods: Sequence[Object]) -> dict[str, str]:
        """Read how far sync Jobs are, from the last line of their logs."""

        async def read(pod: str) -> str:
            try:
                return await self._unless_refused("progress", lambda: self.reads.log(namespace, pod, lines=1), "")
            except ClipModelError:
                return ""  # it has just ended, or not quite begun

        working = [p for p in pods if _component(p) == names.COMPONENT_SYNC and is_running(p)]
        return await _by_pod(working, read)

    async def _stats(self, clip: Object, pods: Sequence[Object]) -> dict[str, str]:
        """Ask each Triton which versions it has loaded."""
        namespace, model = clip["metadata"]["namespace"], (clip.get("status") or {}).get("modelName")

        async def ask(pod: str) -> str:
            question = f"/v2/models/{model}/stats"
            try:
                return await self._unless_refused(
                    "what each pod has loaded",
                    lambda: self.reads.ask_pod(namespace, pod, HTTP_PORT, question),
                    "",
                )
            except ClipModelError:
                return ""  # it is starting, or a NetworkPolicy keeps the API server out

        servers = [p for p in pods if _component(p) == names.COMPONENT_SERVER and is_running(p)]
        return await _by_pod(servers, ask) if model else {}

    async def _events(self, clip: Object, pods: Sequence[Object]) -> list[Object]:
        """List events of the ClipModel, and warnings of what was made of it: why a pod does not start is in no status."""
        metadata = clip["metadata"]
        nothing: list[Object] = []
        listed = await self._unless_refused("events", lambda: self.reads.list(EVENTS, metadata["namespace"]), nothing)
        children = {metadata["name"], names.claim_name(metadata["name"])}
        for pod in pods:
            children.add(pod["metadata"]["name"])
            children |= {str(o["name"]) for o in pod["metadata"].get("ownerReferences") or ()}

        def matters(event: Object) -> bool:
            about = event.get("involvedObject") or {}
            if about.get("kind") == names.KIND:
                return bool(about.get("uid") == metadata["uid"])
            is_child = about.get("kind") in _CHILD_KINDS and about.get("name") in children
            return is_child and event.get("type") == "Warning"

        return [e for e in listed if matters(e)]


def _component(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT, ""))


async def _by_pod(pods: Sequence[Object], ask: Callable[[str], Awaitable[str]]) -> dict[str, str]:
    """Ask about each pod, a few at a time."""
    gate = asyncio.Semaphore(_REQUESTS_AT_ONCE)
    asked = [str(p["metadata"]["name"]) for p in pods]

    async def one(pod: str) -> str:
        async with gate:
            return await ask(pod)

    return dict(zip(asked, await asyncio.gather(*map(one, asked)), strict=True))
