"""What the watches have told, by kind, name and owner. Reading it costs nothing; it may be behind, so nothing is destroyed on its word."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]
Owner = Hashable

#: So many objects that are gone are remembered: an answer that crosses a deletion comes within seconds of it.
_REMEMBERED = 4096


def _identity(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _is_older(obj: Object, than: Object) -> bool:
    """Tell whether both are one object and the first is the older: since 1.35 resourceVersions are documented to compare as integers."""
    new, old = obj["metadata"], than["metadata"]
    if new.get("uid") != old.get("uid"):
        return False
    try:
        return int(new["resourceVersion"]) < int(old["resourceVersion"])
    except (KeyError, ValueError):
        return False


class ObjectCache:
    """Objects of several kinds, with an index by owner. One event loop; not for threads."""

    def __init__(self, owner_of: Callable[[str, Object], Owner | None]) -> None:
        """Take a function that names the owner of an object of a kind, or None where nobody cares."""
        self._owner_of = owner_of
        self._objects: dict[str, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._owned: dict[tuple[str, Owner], set[tuple[str, str]]] = defaultdict(set)
        self._gone: OrderedDict[tuple[str, str], int] = OrderedDict()

    def put(self, kind: str, obj: Object) -> Owner | None:
        """Take in an object, unless a newer state of it is known, or its end. Gives its owner."""
        identity, owner = _identity(obj), self._owner_of(kind, obj)
        known = self._objects[kind].get(identity)
        if (known is not None and _is_older(obj, known)) or self._is_of_before_its_end(kind, obj):
            return owner
        self._forget(kind, identity)
        self._objects[kind][identity] = obj
        if owner is not None:
            self._owned[kind, owner].add(identity)
        return owner

    def remove(self, kind: str, obj: Object) -> Owner | None:
        """Take out an object, unless its name belongs to another by now. Gives its owner."""
        identity = _identity(obj)
        known = self._objects[kind].get(identity)
        uid = obj["metadata"].get("uid")
        if known is not None and (uid is None or known["metadata"].get("uid") == uid):
            self._forget(kind, identity)
        self._remember_end(kind, obj)
        return self._owner_of(kind, obj)

    def _remember_end(self, kind: str, obj: Object) -> None:
        """Remember when an object went: the answer to a write of ours may come after the news of its end, and would bring it back for good.

        An object that only lost the label by which it is watched ends here too. It comes back with a newer resourceVersion.
        """
        metadata = obj["metadata"]
        try:
            place, version = (kind, metadata["uid"]), int(metadata["resourceVersion"])
        except (KeyError, ValueError):
            return
        self._gone[place] = max(version, self._gone.pop(place, 0))
        if len(self._gone) > _REMEMBERED:
            self._gone.popitem(last=False)

    def _is_of_before_its_end(self, kind: str, obj: Object) -> bool:
        metadata = obj["metadata"]
        end = self._gone.get((kind, metadata.get("uid", "")))
        try:
            return end is not None and int(metadata["resourceVersion"]) <= end
        except (KeyError, ValueError):
            return False

    def _forget(self, kind: str, identity: tuple[str, str]) -> None:
        old = self._objects[kind].pop(identity, None)
        if old is None:
            return
        owner = self._owner_of(kind, old)
        if owner is not None:
            owned = self._owned[kind, owner]
            owned.discard(identity)
            if not owned:
                del self._owned[kind, owner]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self._objects[kind].get((namespace, name))

    def owned(self, kind: str, owner: Owner) -> list[Object]:
        """List an owner's objects of a kind, by name."""
        return [self._objects[kind][i] for i in sorted(self._owned.get((kind, owner), ()))]

    def all(self, kind: str) -> list[Object]:
        return list(self._objects[kind].values())

    def names(self, kind: str, namespace: str | None = None) -> set[tuple[str, str]]:
        """Give (namespace, name) of what is known of a kind, in one namespace or in all."""
        return {i for i in self._objects[kind] if namespace is None or i[0] == namespace}

    def replace(self, kind: str, listed: Iterable[Object], *, before: set[tuple[str, str]]) -> set[Owner]:
        """Make the cache agree with a LIST. Gives the owners of what had gone unnoticed.

        `before` is what `names` gave before the LIST was asked for: what has come since is not in the list, and is not lost by it.
        """
        fresh = {_identity(obj): obj for obj in listed}
        repaired: set[Owner] = set()
        for identity in before - fresh.keys():
            known = self._objects[kind].get(identity)
            if known is not None:
                owner = self.remove(kind, known)
                if owner is not None:
                    repaired.add(owner)
        for identity, obj in fresh.items():
            known_now = self._objects[kind].get(identity)
            if known_now is None or known_now["metadata"].get("resourceVersion") != obj["metadata"].get(
                "resourceVersion"
            ):
                owner = self.put(kind, obj)
                if owner is not None:
                    repaired.add(owner)
        return repaired
