"""The cache against a plain dict: with events that come late, repeatedly, or for a successor of the same name, and with lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from clipmodel_operator.runtime import cache as runtime_cache
from clipmodel_operator.runtime.cache import ObjectCache

Object = dict[str, Any]
NAMES = st.sampled_from("xyz")
OWNERS = st.sampled_from(["one", "two", None])


def owner_of(kind: str, obj: Any) -> str | None:
    del kind
    found: str | None = obj.get("owner")
    return found


def build(name: str, uid: str, version: int, owner: str | None) -> Object:
    return {"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": str(version)}, "owner": owner}


class CacheMachine(RuleBasedStateMachine):
    """An API server that changes objects; its events reach the cache in order, and some again later (a watch that starts anew)."""

    stale = Bundle("stale")
    lists = Bundle("lists")

    def __init__(self) -> None:
        super().__init__()
        self.cache = ObjectCache(owner_of)
        self.live: dict[str, Object] = {}
        self.counter = 0

    def _next(self) -> int:
        self.counter += 1
        return self.counter

    @rule(target=stale, name=NAMES, owner=OWNERS)
    def change(self, name: str, owner: str | None) -> Object:
        old = self.live.get(name)
        uid = old["metadata"]["uid"] if old else f"uid-{self._next()}"
        obj = build(name, uid, self._next(), owner)
        self.live[name] = obj
        assert self.cache.put("Kind", obj) == owner
        return obj

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        obj = self.live.pop(name, None)
        if obj is not None:
            assert self.cache.remove("Kind", obj) == obj["owner"]

    @rule(obj=stale)
    def an_old_state_is_told_again(self, obj: Object) -> None:
        """By a watch that starts anew, or as the answer to a write that is read late: also after the object's end, and of a predecessor."""
        self.cache.put("Kind", obj)

    @rule(obj=stale)
    def the_end_of_a_predecessor_is_told_late(self, obj: Object) -> None:
        live = self.live.get(obj["metadata"]["name"])
        if live is None or live["metadata"]["uid"] != obj["metadata"]["uid"]:
            self.cache.remove("Kind", obj)

    @rule(name=NAMES, owner=OWNERS)
    def an_event_is_lost_and_a_list_repairs_it(self, name: str, owner: str | None) -> None:
        lost = self.live.pop(name, None)
        if lost is None:
            self.live[name] = build(name, f"uid-{self._next()}", self._next(), owner)
        repaired = self.cache.replace("Kind", list(self.live.values()), before=self.cache.names("Kind"))
        changed = (lost or self.live[name])["owner"]
        assert repaired == ({changed} if changed else set())
        assert self.cache.replace("Kind", list(self.live.values()), before=self.cache.names("Kind")) == set()

    @rule(target=lists)
    def a_list_begins(self) -> tuple[list[Object], set[tuple[str, str]], int]:
        return list(self.live.values()), self.cache.names("Kind"), self.counter

    @rule(begun=consumes(lists))
    def a_list_arrives_late(self, begun: tuple[list[Object], set[tuple[str, str]], int]) -> None:
        listed, before, counter = begun
        gone = {o["metadata"]["name"] for o in listed} - self.live.keys()
        replaced = {
            o["metadata"]["name"] for o in listed
            if (live := self.live.get(o["metadata"]["name"])) and live["metadata"]["uid"] != o["metadata"]["uid"]
        }  # fmt: skip
        came_again = {name for _, name in before - {("n", o["metadata"]["name"]) for o in listed}} & self.live.keys()
        if gone or replaced or came_again:
            return  # the watch's own list follows such a race; the next sweep would repair it too
        self.cache.replace("Kind", listed, before=before)
        assert self.counter >= counter

    @invariant()
    def it_holds_what_is(self) -> None:
        found = {o["metadata"]["name"]: o for o in self.cache.all("Kind")}
        assert found == self.live
        for owner in ("one", "two"):
            owned = [o["metadata"]["name"] for o in self.cache.owned("Kind", owner)]
            assert owned == sorted(n for n, o in self.live.items() if o["owner"] == owner)
        for name in "xyz":
            assert self.cache.get("Kind", "n", name) == self.live.get(name)
            assert self.cache.get("Other", "n", name) is None


TestCache = CacheMachine.TestCase


def test_names_of_one_namespace() -> None:
    cache = ObjectCache(owner_of)
    for namespace in "ab":
        cache.put("Kind", {"metadata": {"namespace": namespace, "name": "x"}})
    assert cache.names("Kind") == {("a", "x"), ("b", "x")}
    assert cache.names("Kind", "b") == {("b", "x")}


def test_what_came_after_a_list_was_asked_for_is_not_lost_by_it() -> None:
    cache = ObjectCache(owner_of)
    before = cache.names("Kind")
    cache.put("Kind", build("x", "u", 1, "one"))
    assert cache.replace("Kind", [], before=before) == set()
    assert cache.get("Kind", "n", "x") is not None


def test_a_version_that_is_no_number_counts_as_news() -> None:
    cache = ObjectCache(owner_of)
    for version in ("b", "a"):
        cache.put("Kind", {"metadata": {"namespace": "n", "name": "x", "uid": "u", "resourceVersion": version}})
    assert cache.all("Kind")[0]["metadata"]["resourceVersion"] == "a"


def test_what_lost_its_label_and_got_it_again_is_news() -> None:
    """Watches tell of it as of a deletion, but it is the same object."""
    cache = ObjectCache(owner_of)
    cache.put("Kind", build("x", "u", 1, "one"))
    cache.remove("Kind", build("x", "u", 2, "one"))
    cache.put("Kind", build("x", "u", 3, "one"))
    assert cache.get("Kind", "n", "x") is not None


def test_not_every_end_is_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_cache, "_REMEMBERED", 2)
    cache = ObjectCache(owner_of)
    for n in range(3):
        cache.remove("Kind", build("x", f"u{n}", 1, None))
    assert len(cache._gone) == 2


def test_a_kind_that_is_not_owned_any_more_leaves_its_owner() -> None:
    cache = ObjectCache(owner_of)
    cache.put("Kind", build("x", "u", 1, "one"))
    cache.put("Kind", build("x", "u", 2, None))
    assert cache.owned("Kind", "one") == []
