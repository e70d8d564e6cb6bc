"""Changes that fail in servers that run, or are broken off: what is proven serves on, under traffic with known answers, and status says what becomes of the target.

Two ClipModels. Of `edited` a file on the volume is spoiled, so that Triton refuses, or loads and embeds otherwise, whatever is asked for next. `heavy` has
memory for one copy of its second version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from support.cluster import Namespace, Object, OperatorPod, clip_model, condition, until
from support.faults import Spoiler, held_commits, spoiler
from support.model_server import ModelServer
from support.servers import RESOURCES, SHORTEST_GRACE, assert_settled, committed_id, edit, lives, servers
from support.tiny_onnx import build_tiny_onnx
from support.traffic import Traffic, traffic

NAME, HEAVY = "edited", "heavy"
FILE, OTHER = build_tiny_onnx(seed=1, note="revisions 1"), build_tiny_onnx(seed=2)
UNSTARTABLE = build_tiny_onnx(seed=1, note="revisions 2")
# Triton and one process take some 50 MiB, each process more about 35. Beside the first the second needs 345; alone, 250.
LIGHT_MIB, HEAVY_MIB, LIMIT = 60, 200, "296Mi"
HEAVY_FILES = {v: build_tiny_onnx(seed=1, memory_mib=mib) for v, mib in ((1, LIGHT_MIB), (2, HEAVY_MIB))}


@dataclass(frozen=True, slots=True)
class Live:
    """A ClipModel that serves, and who asks it."""

    namespace: Namespace
    name: str
    traffic: Traffic

    def edit(self, **spec: Any) -> None:
        edit(self.namespace, self.name, spec)

    def delay(self, milliseconds: int) -> None:
        """Ask for another configuration."""
        self.edit(batching={"maxQueueDelay": f"{milliseconds}ms"})

    def wait_ready(self) -> Object:
        return self.namespace.wait_ready(self.name)

    @property
    def status(self) -> Object:
        found: Object = self.namespace.clip(self.name)["status"]
        return found

    @property
    def rollout(self) -> Object:
        found: Object = self.status["rollout"]
        return found

    def lives(self) -> dict[str, tuple[int, str]]:
        return lives(self.namespace, self.name)

    def config_ids(self) -> list[str | None]:
        return [s.config_id(self.name) for s in servers(self.namespace, self.name)]

    def loads(self, name: str) -> int:
        """Count what was loaded under a name, on all pods."""
        logs = [self.namespace.kubectl.log(s.pod) for s in servers(self.namespace, self.name)]
        return sum(log.count(f"loading: {name}:") for log in logs)

    def assert_unchanged(self, proven: str, committed: str) -> None:
        """Fail unless every server runs, and starts with, what was proven before."""
        assert self.status["servingVersions"] == [1], self.status
        assert self.rollout["provenRevision"] == proven
        until(
            lambda: {p.get("revision") for p in self.status["pods"]} == {proven},
            "every pod is said to run what is proven",  # who failed a proof is asked anew
            seen=lambda: self.status,
        )
        assert committed_id(self.namespace, self.name) == committed
        assert set(self.config_ids()) == {committed}


@contextmanager
def _asked(namespace: Namespace, name: str, answers: dict[int, bytes], *, keeps: bool = True) -> Iterator[Traffic]:
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    with traffic(namespace.kubectl, name=name, image=image, answers=answers, keeps_connections=keeps) as made:
        yield made


@pytest.fixture(scope="module")
def edited(shared_namespace: Namespace, model_server: ModelServer) -> Iterator[Live]:
    uri, sha256 = model_server.put(FILE)
    clip = clip_model(NAME, uri=uri, sha256=sha256)
    clip["spec"]["serving"] = {"replicas": 2, "resources": RESOURCES, "terminationGracePeriod": SHORTEST_GRACE}
    shared_namespace.kubectl.apply(clip)
    until(lambda: len(lives(shared_namespace, NAME)) == 2, "both pods are there")
    shared_namespace.wait_ready(NAME)
    with _asked(shared_namespace, NAME, {1: FILE}) as requests:
        yield Live(shared_namespace, NAME, requests)


@pytest.fixture(scope="module")
def disk(edited: Live) -> Iterator[Spoiler]:
    with spoiler(edited.namespace, f"{NAME}-models") as made:
        yield made


@pytest.fixture
def live(edited: Live, disk: Spoiler) -> Live:
    """As each test finds it: at rest, whatever became of the one before."""
    ready = condition(edited.namespace.clip(NAME), "Ready")
    if not ready or ready["status"] != "True":
        disk.write(_path(NAME, 1), FILE)
        edited.edit(batching={"maxQueueDelay": "5ms"}, paused=False, verification=None, serving={"replicas": 2})
    edited.wait_ready()
    return edited


def _path(name: str, version: int) -> str:
    return f"repository/{name}/{version}/model.onnx"


def _columns(live: Live) -> dict[str, str]:
    """Read what `kubectl get clip -o wide` prints, by the titles of its columns."""
    header, row = live.namespace.kubectl("get", "clip", live.name, "-o", "wide").splitlines()
    starts = [header.index(title) for title in header.split()]
    ends = [*starts[1:], None]
    return {header[a:b].strip(): row[a:b].strip() for a, b in zip(starts, ends, strict=True)}


def test_a_refused_configuration_waits_until_its_time_or_until_it_is_asked_for(live: Live, disk: Spoiler) -> None:
    before, proven, committed = live.lives(), live.rollout["provenRevision"], committed_id(live.namespace, NAME)
    disk.write(_path(NAME, 1), None)
    with live.traffic.unharmed():
        live.delay(7)
        refused = live.namespace.wait_reason(NAME, "Ready", "ServerRejected")
        assert "ONNX Runtime cannot load" in refused["message"], refused["message"]
        assert "Meanwhile version 1 serves" in refused["message"], refused["message"]
        assert condition(live.namespace.clip(NAME), "Stalled") is None, "Triton says the same of a file system's error"
        told = live.rollout
        assert (told["phase"], told["tries"]) == ("Waiting", 1)
        assert told["targetRevision"] != proven
        assert 0 < (datetime.fromisoformat(told["notBefore"]) - datetime.now(UTC)).total_seconds() <= 61
        live.assert_unchanged(proven, committed)
        shown = _columns(live)
        assert (shown["PROVEN"], shown["TARGET"], shown["PHASE"]) == (proven, told["targetRevision"], "Waiting")
        disk.write(_path(NAME, 1), FILE)
        live.namespace.kubectl("annotate", f"clip/{NAME}", "--overwrite", "clipmodel.dev/retry=now")
        live.wait_ready()
    assert_settled(live.namespace, NAME, [1], max_queue_delay_microseconds=7000)
    assert live.rollout == {"provenRevision": told["targetRevision"], "targetRevision": told["targetRevision"]}
    assert live.lives() == before


def test_a_configuration_that_embeds_differently_is_never_asked(live: Live, disk: Spoiler) -> None:
    before, proven, committed = live.lives(), live.rollout["provenRevision"], committed_id(live.namespace, NAME)
    old = live.namespace.clip(NAME)["spec"]["batching"]
    disk.write(_path(NAME, 1), OTHER)
    with live.traffic.unharmed():
        live.delay(9)
        stalled = live.namespace.wait_reason(NAME, "Stalled", "GoldenCheckFailed")
        assert "cosine" in stalled["message"]
        assert "notBefore" not in live.rollout, "it does not change by waiting"
        live.assert_unchanged(proven, committed)
        live.edit(batching=old)
        live.wait_ready()
        disk.write(_path(NAME, 1), FILE)
    assert set(live.config_ids()) == {committed}
    assert live.lives() == before


def test_an_edit_that_is_paused_and_taken_back_in_the_middle_is_never_loaded(live: Live) -> None:
    before, committed = live.lives(), committed_id(live.namespace, NAME)
    old = live.namespace.clip(NAME)["spec"]["batching"]
    loads, candidates = live.loads(NAME), live.loads(f"{NAME}__candidate")
    with live.traffic.unharmed():
        with held_commits(live.namespace, f"{NAME}-rollout", saying="Switching"):
            live.delay(11)
            _wait_proved(live, candidates)
            live.edit(paused=True)
            until(lambda: condition(live.namespace.clip(NAME), "Paused"), "it is paused", seen=lambda: live.status)
        live.traffic.after(16)
        assert set(live.config_ids()) == {committed}
        live.edit(paused=False, batching=old)
        live.wait_ready()
    assert_settled(live.namespace, NAME, [1])
    assert (committed_id(live.namespace, NAME), live.loads(NAME)) == (committed, loads)
    assert live.lives() == before


def _wait_proved(live: Live, before: int) -> None:
    """Wait until both pods have loaded the target under the candidate's name, and go on but for what is held."""
    loads = f"{NAME}__candidate"
    until(lambda: live.loads(loads) == before + 2, "both candidates are loaded", seen=lambda: live.rollout)
    until(lambda: live.rollout.get("phase") == "Switching", "all have proven it", seen=lambda: live.status)


def _wait_switched(live: Live, old: str) -> None:
    until(lambda: old not in live.config_ids(), "both servers run it", seen=live.config_ids)


@pytest.mark.parametrize("phase", ["Proving", "Switching"])
def test_an_operator_that_is_killed_in_the_middle_is_followed_by_one_that_goes_on(
    live: Live, operator: OperatorPod, phase: str
) -> None:
    before, old = live.lives(), committed_id(live.namespace, NAME)
    is_proving, candidates = phase == "Proving", live.loads(f"{NAME}__candidate")
    held = f"{NAME}-rollout" if is_proving else f"{NAME}-config"
    with live.traffic.unharmed():
        with held_commits(live.namespace, held, saying="Switching" if is_proving else ""):
            live.delay(13 if is_proving else 15)
            if is_proving:
                _wait_proved(live, candidates)
            else:
                _wait_switched(live, old)
            operator.kill()
        live.wait_ready()
    assert_settled(live.namespace, NAME, [1], max_queue_delay_microseconds=13000 if is_proving else 15000)
    assert live.lives() == before


def test_a_tolerance_is_verified_and_nothing_is_loaded_for_it(live: Live) -> None:
    before, committed, proven = live.lives(), committed_id(live.namespace, NAME), live.rollout["provenRevision"]
    loads = live.loads(NAME), live.loads(f"{NAME}__candidate")
    with live.traffic.unharmed():
        live.edit(verification={"tolerance": "0.9998"})
        live.wait_ready()
    assert live.rollout["provenRevision"] == live.rollout["targetRevision"] != proven
    assert set(live.config_ids()) == {committed_id(live.namespace, NAME)} == {committed}
    assert (live.loads(NAME), live.loads(f"{NAME}__candidate")) == loads
    assert live.lives() == before


def test_what_is_pushed_while_nothing_runs_is_proven_before_it_serves(
    live: Live, disk: Spoiler, model_server: ModelServer
) -> None:
    """Scaled to zero and back, with a version pushed meanwhile of which the volume has lost half: the proven one serves again."""
    proven, committed, known = live.rollout["provenRevision"], committed_id(live.namespace, NAME), live.traffic.read()
    uri, sha256 = model_server.put(UNSTARTABLE)
    versions = [
        *live.namespace.clip(NAME)["spec"]["versions"],
        {"version": 2, "source": {"uri": uri, "sha256": sha256}},
    ]
    live.edit(versions=versions, versionPolicy={"latest": None, "specific": {"versions": [1]}})
    until(lambda: [v["state"] for v in live.status["versions"]] == ["Serving", "Retired"], "version 2 is on the volume")
    disk.write(_path(NAME, 2), None)
    live.edit(serving={"replicas": 0})
    live.namespace.wait_reason(NAME, "Ready", "ScaledToZero")
    until(lambda: not servers(live.namespace, NAME), "no pod is left to prove it on", seen=lambda: live.status)
    live.edit(versionPolicy={"latest": {"count": 1}, "specific": None})
    until(lambda: live.rollout["targetRevision"] != proven, "it is the target", seen=lambda: live.status)
    assert (live.rollout["provenRevision"], committed_id(live.namespace, NAME)) == (proven, committed)
    live.edit(serving={"replicas": 1})
    refused = live.namespace.wait_reason(NAME, "Ready", "ServerRejected")
    assert "version 2" in refused["message"]
    # Connections to the pods of before break when those are gone at last: that was the scaling.
    until(lambda: len(live.namespace.server_pods(NAME)) == 1, "the pods of before are gone")
    live.traffic.after(8)
    with live.traffic.unharmed():
        live.assert_unchanged(proven, committed)
    seen = live.traffic.read().since(known)
    assert (seen.wrong, set(seen.by_version)) == (0, {"1"})
    live.edit(versionPolicy={"latest": None, "specific": {"versions": [1]}})
    live.wait_ready()
    assert_settled(live.namespace, NAME, [1])


@pytest.fixture(scope="module")
def heavy(shared_namespace: Namespace, model_server: ModelServer) -> Iterator[Live]:
    """Serve version 1 on a claim of the user's own, which one node can mount: one pod goes before another comes."""
    kubectl = shared_namespace.kubectl
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "mine"}, "spec": claim})
    sources = {v: model_server.put(content) for v, content in HEAVY_FILES.items()}
    versions = [{"version": v, "source": {"uri": uri, "sha256": sha256}} for v, (uri, sha256) in sources.items()]
    resources = {**RESOURCES, "limits": {"memory": LIMIT}}
    clip = clip_model(HEAVY, uri="", sha256="", versions=versions, versionPolicy={"specific": {"versions": [1]}})
    clip["spec"]["storage"] = {"existingClaim": "mine"}
    clip["spec"]["serving"] = {"replicas": 1, "resources": resources, "terminationGracePeriod": SHORTEST_GRACE}
    kubectl.apply(clip)
    shared_namespace.wait_ready(HEAVY)
    with _asked(shared_namespace, HEAVY, HEAVY_FILES, keeps=False) as requests:
        yield Live(shared_namespace, HEAVY, requests)


def test_a_load_that_kills_is_said_to_be_one_of_memory_and_goes_by_new_pods_when_that_is_asked_for(heavy: Live) -> None:
    before, proven, committed = heavy.lives(), heavy.rollout["provenRevision"], committed_id(heavy.namespace, HEAVY)
    with heavy.traffic.unharmed():
        heavy.edit(versionPolicy={"specific": {"versions": [2]}})
        killed = heavy.namespace.wait_reason(HEAVY, "Ready", "ServerKilled")
        for text in ("version 2", "memory holds one copy", LIMIT, "rollout.strategy", "Meanwhile version 1 serves"):
            assert text in killed["message"], killed["message"]
        heavy.assert_unchanged(proven, committed)
        assert heavy.lives() == before
    known = heavy.traffic.read()
    heavy.edit(rollout={"strategy": "Replace"})
    heavy.wait_ready()
    assert_settled(heavy.namespace, HEAVY, [2])
    until(lambda: set(before).isdisjoint(heavy.lives()), "the old pod is gone", seen=heavy.lives)
    [event] = [e for e in heavy.namespace.events(HEAVY) if e["reason"] == "RollingUpdate"]
    assert event["type"] == "Warning"
    assert "With one replica, that is a gap in service" in event["message"]
    assert heavy.traffic.after(8).since(known).wrong == 0
