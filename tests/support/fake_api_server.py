"""An API server in memory, as far as the operator sees it: server-side apply, generations, conflicts, watch events, garbage collection.

An event is delivered when a test delivers it (`undelivered`); a write fails or kills the operator where a test says so (`before_write`,
`after_write`). Nothing moves by itself: `fake_controllers` and `fake_kubelet` offer what could happen next.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from clipmodel_operator.models.errors import ConflictError, GoneError
from clipmodel_operator.models.names import config_map_name
from clipmodel_operator.models.resources import Resource
from support.builders import NAME
from support.fake_clock import FakeClock
from support.server_side_apply import Object, canonicalise, merge, with_defaults

_CONFIG = config_map_name(NAME)
Identity = tuple[str, str, str]
"""Kind, namespace, name."""


class FakeApiServer:
    """What the operator asks goes through the ObjectStore and StatusStore protocols and is logged in `writes`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.objects: dict[Identity, Object] = {}
        self.writes: list[str] = []
        #: Events that no watch has delivered yet, by kind: within a kind their order is kept.
        self.undelivered: dict[str, deque[tuple[bool, Object]]] = {}
        #: Called before and after each write of the operator; may raise.
        self.before_write: Callable[[str], None] = lambda _: None
        self.after_write: Callable[[str], None] = lambda _: None
        self.before_read: Callable[[str], None] = lambda _: None
        self.applied: dict[tuple[Identity, str], Object] = {}
        self._counter = 0

    # What tests and controllers do.

    def next_number(self) -> int:
        self._counter += 1
        return self._counter

    def find(self, kind: str, name: str | None = None, *, namespace: str = "demo") -> Object | None:
        """Give an object, or the only one of its kind; of ConfigMaps, the one that pods read."""
        if kind == "ConfigMap" and name is None and (kind, namespace, _CONFIG) in self.objects:
            name = _CONFIG
        if name is not None:
            return self.objects.get((kind, namespace, name))
        found = [o for (k, s, _), o in self.objects.items() if (k, s) == (kind, namespace)]
        assert len(found) <= 1, f"{len(found)} objects of kind {kind}"
        return found[0] if found else None

    def get(self, kind: str, name: str | None = None) -> Object:
        """Give an object that must be there."""
        found = self.find(kind, name)
        assert found is not None, f"no {kind} {name or ''}"
        return found

    def all(self, kind: str) -> list[Object]:
        return [o for (k, _, _), o in sorted(self.objects.items()) if k == kind]

    def add(self, obj: Mapping[str, Any]) -> Object:
        """Create an object as a user or a controller does."""
        new = canonicalise(copy.deepcopy(dict(obj)))
        new["metadata"] |= {
            "uid": f"uid-{self.next_number()}",
            "generation": 1,
            "creationTimestamp": self.clock.stamp(),
        }
        return self._save(with_defaults(new))

    def edit(self, obj: Mapping[str, Any], change: Callable[[Object], object]) -> Object:
        """Change an object as a user or a controller does."""
        new = copy.deepcopy(dict(obj))
        change(new)
        return self._save(new)

    def remove(self, obj: Mapping[str, Any]) -> None:
        """Delete an object, and what it owns."""
        identity = self._identity(obj)
        gone = self.objects.pop(identity, None)
        if gone is None:
            return
        for part in ("", "status"):
            self.applied.pop((identity, part), None)
        self._tell(gone, deleted=True)
        uid = gone["metadata"]["uid"]
        for other in list(self.objects.values()):
            if any(o.get("uid") == uid for o in other["metadata"].get("ownerReferences") or ()):
                self.remove(other)

    @staticmethod
    def _identity(obj: Mapping[str, Any]) -> Identity:
        return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]

    def _save(self, obj: Object) -> Object:
        identity = self._identity(obj)
        old = self.objects.get(identity)
        if old is not None:
            if {k: v for k, v in old.items() if k != "metadata"} == {
                k: v for k, v in obj.items() if k != "metadata"
            } and ({**old["metadata"], "resourceVersion": 0} == {**obj["metadata"], "resourceVersion": 0}):
                return old  # nothing changed: no new resourceVersion and no event
            if old.get("spec") != obj.get("spec"):
                obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        obj["metadata"]["resourceVersion"] = str(self.next_number())
        self.objects[identity] = obj
        self._tell(obj, deleted=False)
        return obj

    def _tell(self, obj: Object, *, deleted: bool) -> None:
        self.undelivered.setdefault(obj["kind"], deque()).append((deleted, copy.deepcopy(obj)))

    # What the operator does.

    async def list_objects(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> list[Object]:
        self.before_read(f"list {resource.kind}")
        key, _, value = label_selector.partition("=")
        return [
            copy.deepcopy(o)
            for o in self.all(resource.kind)
            if namespace in {None, o["metadata"]["namespace"]}
            and (not key or (o["metadata"].get("labels") or {}).get(key) == value)
        ]

    async def get_object(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self.before_read(f"get {resource.kind} {name}")
        return copy.deepcopy(self.objects.get((resource.kind, namespace, name)))

    async def apply_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        return self._apply(resource, namespace, manifest, part="")

    async def apply_new_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object | None:
        name = manifest["metadata"]["name"]
        if (resource.kind, namespace, name) not in self.objects:
            return self._apply(resource, namespace, manifest, part="")
        # The resourceVersion that it names is nobody's: refused, but sent and in the audit log.
        what = f"apply {resource.kind} {name} (refused)"
        self.before_write(what)
        self.writes.append(what)
        return None

    async def apply_status(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        return self._apply(resource, namespace, manifest, part="status")

    def _apply(self, resource: Resource, namespace: str, manifest: Mapping[str, Any], *, part: str) -> Object:
        name = manifest["metadata"]["name"]
        what = f"apply {resource.kind} {name}" + (f" {part}" if part else "")
        self.before_write(what)
        identity = (resource.kind, namespace, name)
        applied = canonicalise(copy.deepcopy(dict(manifest)))
        applied["metadata"].pop("namespace", None)
        live = self.objects.get(identity)
        if live is None and part:
            raise GoneError(f"{what}: not found")
        uid, version = (applied["metadata"].pop(k, None) for k in ("uid", "resourceVersion"))
        there = live["metadata"] if live is not None else {}
        # The status of a custom resource is applied whatever uid is named; asked of Kubernetes 1.34.
        if uid is not None and uid != there.get("uid") and not part:
            raise ConflictError(f"{what}: the object of uid {uid} is not there, or another of its name")
        if version is not None and version != there.get("resourceVersion"):
            raise ConflictError(f"{what}: the object has been modified")
        self.writes.append(what)
        previous = self.applied.get((identity, part))
        if part:
            applied = {part: applied[part]}
        if live is None:
            saved = self.add({**applied, "metadata": {**applied["metadata"], "namespace": namespace}})
        else:
            saved = self._save(copy.deepcopy(merge(live, applied, previous)))
        self.applied[identity, part] = applied
        self.after_write(what)
        return copy.deepcopy(saved)

    async def create_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object | None:
        name = manifest["metadata"]["name"]
        what = f"create {resource.kind}" + ("" if resource.kind == "Event" else f" {name}")
        self.before_write(what)
        self.writes.append(what if resource.kind != "Event" else f"{what} {manifest['reason']}")
        if (resource.kind, namespace, name) in self.objects:
            return None
        saved = self.add({**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})
        self.after_write(what)
        return copy.deepcopy(saved)

    async def delete_object(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        what = f"delete {resource.kind} {name}"
        self.before_write(what)
        self.writes.append(what)
        live = self.objects.get((resource.kind, namespace, name))
        if live is not None and live["metadata"]["uid"] == uid:
            self.remove(live)
        self.after_write(what)
