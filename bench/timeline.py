"""When was what seen first? Watches of a namespace, and the moments at which its objects came to be as they should."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bench.api import PATHS, Api, path_of
from bench.errors import BenchError

Object = Mapping[str, Any]
_KINDS = tuple(kind for kind in PATHS if kind not in {"Event", "Secret"})


@dataclass(frozen=True, slots=True)
class Milestone:
    """A moment: the first object of a kind of which something is true."""

    name: str
    kind: str
    is_reached: Callable[[Object], bool]


def component(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get("app.kubernetes.io/component", ""))


def has_condition(obj: Object, kind: str) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def container_state(obj: Object) -> str:
    """Name the state of the first container: running, terminated, waiting, or nothing yet."""
    statuses = (obj.get("status") or {}).get("containerStatuses") or ()
    return next((state for status in statuses for state in status.get("state", {})), "")


def is_bound(obj: Object) -> bool:
    return bool((obj.get("status") or {}).get("phase") == "Bound")


def server_milestones(of: str = "server") -> list[Milestone]:
    """The life of a Triton pod, the same by hand and by the operator."""
    return [
        Milestone("pod scheduled", "Pod", lambda o: component(o) == of and has_condition(o, "PodScheduled")),
        Milestone("container runs", "Pod", lambda o: component(o) == of and container_state(o) == "running"),
        Milestone("pod ready", "Pod", lambda o: component(o) == of and has_condition(o, "Ready")),
    ]


@dataclass(slots=True)
class Timeline:
    """Seconds since the start, by milestone."""

    milestones: Sequence[Milestone]
    started: float = 0.0
    marks: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        self.started = time.monotonic()

    def mark(self, name: str) -> None:
        """Note that a moment is now, unless it was before."""
        self.marks.setdefault(name, time.monotonic() - self.started)

    def observe(self, kind: str, obj: Object) -> None:
        for milestone in self.milestones:
            if milestone.kind == kind and milestone.name not in self.marks and milestone.is_reached(obj):
                self.mark(milestone.name)


class Watches:
    """Watches kinds of a namespace for as long as the block runs, tells the timeline, and keeps the newest of each object."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        timeline: Timeline,
        kinds: Sequence[str] = _KINDS,
    ) -> None:
        self._api, self._namespace, self._timeline, self._kinds = api, namespace, timeline, kinds
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self.objects: dict[tuple[str, str], Object] = {}

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._follow(kind)) for kind in self._kinds]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, kind: str) -> None:
        async for what, obj in self._api.watch(path_of(kind, self._namespace)):
            if what in {"ADDED", "MODIFIED"}:
                self._timeline.observe(kind, obj)
                self.objects[kind, obj["metadata"]["name"]] = obj
            elif what == "DELETED":
                self.objects.pop((kind, obj["metadata"]["name"]), None)
            async with self._changed:
                self._changed.notify_all()

    async def wait(self, look: Callable[[], Any], what: str, *, deadline_s: float) -> Any:
        """Wait until `look` gives something; it is asked after each event. Raises BenchError when the deadline has passed."""
        try:
            async with asyncio.timeout(deadline_s), self._changed:
                while not (found := look()):
                    await self._changed.wait()
                return found
        except TimeoutError as error:
            told = [
                f"{kind} {name}: {obj.get('status')}"
                for (kind, name), obj in self.objects.items()
                if kind in {"ClipModel", "Pod"}
            ]
            raise BenchError(f"not within {deadline_s:.0f} s: {what}. Last seen: {'; '.join(told)[:1500]}") from error

    def of_kind(self, kind: str) -> list[Object]:
        return [obj for (k, _), obj in self.objects.items() if k == kind]
