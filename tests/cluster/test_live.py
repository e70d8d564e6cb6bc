"""Changes of what serves, in servers that run: versions, policies and batching, with nothing restarted and no request lost.

One ClipModel of two pods lives through all of it, under traffic whose answers are known. Each test brings it to its own beginning first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from support.cluster import Namespace, OperatorPod, clip_model, condition, until
from support.faults import held_commits, held_source, write_to_volume
from support.model_server import ModelServer
from support.servers import RESOURCES, SHORTEST_GRACE, assert_settled, committed_id, edit, lives, restarted, servers
from support.tiny_onnx import build_tiny_onnx
from support.traffic import Traffic, traffic

NAME = "tiny"
# 1 to 3 and from 5 on: other bytes, the same weights. 4: another embedding space.
OTHER_SPACE = 4
FILES: Mapping[int, bytes] = {
    v: build_tiny_onnx(seed=2 if v == OTHER_SPACE else 1, note=f"version {v}") for v in range(1, 9)
}
LATEST: Mapping[str, Any] = {"latest": None, "all": None, "specific": None}
FIRST: Mapping[str, Any] = {"specific": {"versions": [1]}}
DELAY = {"maxQueueDelay": "5ms", "maxBatchSize": 32, "preferredBatchSizes": [4, 8, 16, 32]}


@dataclass(frozen=True, slots=True)
class Live:
    """The ClipModel that serves, and who asks it."""

    namespace: Namespace
    traffic: Traffic
    sources: Mapping[int, tuple[str, str]]

    def versions(self, *numbers: int, new_space: Sequence[int] = ()) -> list[dict[str, Any]]:
        return [
            {"version": n, "source": {"uri": self.sources[n][0], "sha256": self.sources[n][1]}}
            | ({"newEmbeddingSpace": True} if n in new_space else {})
            for n in numbers
        ]

    def edit(
        self, *numbers: int, new_space: Sequence[int] = (), policy: Mapping[str, Any] | None = None, **batching: Any
    ) -> None:
        """Set versions, policy and batching; what is not given is as at the beginning."""
        spec = {
            "versions": self.versions(*numbers, new_space=new_space),
            "versionPolicy": {**LATEST, **(policy or {})},
            "batching": {**DELAY, **batching},
        }
        edit(self.namespace, NAME, spec)

    def settle(self, *numbers: int, **more: Any) -> None:
        self.edit(*numbers, **more)
        self.namespace.wait_ready(NAME)

    def lives(self) -> dict[str, tuple[int, str]]:
        return lives(self.namespace, NAME)

    def config_ids(self) -> list[str | None]:
        return [s.config_id(NAME) for s in servers(self.namespace, NAME)]

    def state_of(self, version: int) -> str | None:
        found = self.namespace.clip(NAME)["status"].get("versions", ())
        return next((v["state"] for v in found if v["version"] == version), None)

    def keep(self, version: int) -> None:
        """Bring a version to the volume without serving it; version 1 serves."""
        self.edit(1, version, policy=FIRST)
        until(
            lambda: self.state_of(version) == "Retired" or None,
            f"version {version} is on the volume",
            seen=lambda: self.state_of(version),
        )
        self.namespace.wait_ready(NAME)


@pytest.fixture(scope="module")
def live(shared_namespace: Namespace, model_server: ModelServer) -> Iterator[Live]:
    sources = {v: model_server.put(content) for v, content in FILES.items()}
    uri, sha256 = sources[1]
    clip = clip_model(NAME, uri=uri, sha256=sha256)
    clip["spec"]["serving"] = {"replicas": 2, "resources": RESOURCES, "terminationGracePeriod": SHORTEST_GRACE}
    shared_namespace.kubectl.apply(clip)
    until(lambda: len(lives(shared_namespace, NAME)) == 2, "both pods are there")
    shared_namespace.wait_ready(NAME)
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    with traffic(shared_namespace.kubectl, name=NAME, image=image, answers=FILES) as requests:
        yield Live(shared_namespace, requests, sources)


def test_a_new_version_takes_over_in_the_running_servers(live: Live) -> None:
    live.settle(1)
    before, clip = live.lives(), live.namespace.clip(NAME)
    with live.traffic.unharmed():
        live.edit(1, 2)
        status = live.namespace.wait_ready(NAME)["status"]
    assert_settled(live.namespace, NAME, [2])
    assert live.lives() == before
    assert [v["state"] for v in status["versions"]] == ["Retired", "Serving"]
    assert {v["embeddingSpaceId"] for v in status["versions"]} == {clip["status"]["versions"][0]["embeddingSpaceId"]}
    marked = live.traffic.read()
    assert set(live.traffic.after(8).since(marked).by_version) == {"2"}


def test_the_policy_says_which_serve(live: Live) -> None:
    live.settle(1, 2)
    before = live.lives()
    steps: list[tuple[Mapping[str, Any], list[int]]] = [
        ({"all": {}}, [1, 2, 3]),
        ({"specific": {"versions": [1]}}, [1]),
        ({"latest": {"count": 2}}, [2, 3]),
        ({"latest": {"count": 1}}, [3]),
    ]
    for policy, expected in steps:
        with live.traffic.unharmed():
            live.edit(1, 2, 3, policy=policy)
            live.namespace.wait_ready(NAME)
        assert_settled(live.namespace, NAME, expected)
        marked = live.traffic.read()
        assert set(live.traffic.after(8).since(marked).by_version) == {str(max(expected))}
    assert live.lives() == before


def test_a_version_that_is_taken_out_of_the_spec_gives_way(live: Live) -> None:
    """Going back by hand, as a rollback in Git does it."""
    live.settle(1, 2)
    before = live.lives()
    with live.traffic.unharmed():
        live.edit(1)
        live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [1])
    assert live.lives() == before


def test_batching_changes_in_the_running_servers(live: Live) -> None:
    live.settle(1, 2, policy={"all": {}})
    before = live.lives()
    with live.traffic.unharmed():
        live.edit(1, 2, policy={"all": {}}, maxQueueDelay="20ms", maxBatchSize=16, preferredBatchSizes=[2, 8])
        live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [1, 2], preferred_batch_size=[2, 8], max_queue_delay_microseconds=20000)
    assert {s.config(NAME)["max_batch_size"] for s in servers(live.namespace, NAME)} == {16}
    assert live.lives() == before


def test_another_embedding_space_is_refused_until_it_is_wanted(live: Live) -> None:
    live.settle(1)
    before, space = live.lives(), live.namespace.clip(NAME)["status"]["versions"][0]["embeddingSpaceId"]
    with live.traffic.unharmed():
        live.edit(1, OTHER_SPACE)
        stalled = live.namespace.wait_reason(NAME, "Stalled", "EmbeddingSpaceMismatch")
        assert "newEmbeddingSpace" in stalled["message"]
        assert f"version {OTHER_SPACE}" in stalled["message"]
        status = live.namespace.clip(NAME)["status"]
        assert status["servingVersions"] == [1]
        assert live.state_of(OTHER_SPACE) == "Failed"
        marked = live.traffic.read()
        assert set(live.traffic.after(8).since(marked).by_version) == {"1"}

        live.edit(1, OTHER_SPACE, new_space=[OTHER_SPACE])
        status = live.namespace.wait_ready(NAME)["status"]
    assert_settled(live.namespace, NAME, [OTHER_SPACE])
    assert {v["version"]: v["embeddingSpaceId"] == space for v in status["versions"]} == {1: True, OTHER_SPACE: False}
    with live.traffic.unharmed():
        live.edit(1, OTHER_SPACE, new_space=[OTHER_SPACE], policy=FIRST)
        live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [1])
    assert live.lives() == before


def test_what_triton_cannot_load_leaves_what_serves(live: Live) -> None:
    """ONNX Runtime in the Job could read the file; since then the volume lost half of it."""
    live.keep(5)
    write_to_volume(live.namespace, f"{NAME}-models", f"repository/{NAME}/5/model.onnx", None)
    before, committed = live.lives(), committed_id(live.namespace, NAME)
    with live.traffic.unharmed():
        live.edit(1, 5)
        refused = live.namespace.wait_reason(NAME, "Ready", "ServerRejected")
    assert "version 5" in refused["message"]
    assert "ONNX Runtime cannot load" in refused["message"], refused["message"]
    rollout = live.namespace.clip(NAME)["status"]["rollout"]
    assert rollout["phase"] == "Waiting", "a file system may mend: it is tried again, five times in all"
    assert live.namespace.clip(NAME)["status"]["servingVersions"] == [1]
    assert committed_id(live.namespace, NAME) == committed
    assert all(s.ready_versions() == {NAME: [1]} for s in servers(live.namespace, NAME))
    live.settle(1)
    assert_settled(live.namespace, NAME, [1])
    assert live.lives() == before


def test_what_embeds_otherwise_than_it_was_proven_never_gets_a_request(live: Live) -> None:
    """The file on the volume is another model by now, and Triton loads it gladly."""
    live.keep(6)
    write_to_volume(live.namespace, f"{NAME}-models", f"repository/{NAME}/6/model.onnx", FILES[OTHER_SPACE])
    before = live.lives()
    with live.traffic.unharmed():
        live.edit(1, 6)
        stalled = live.namespace.wait_reason(NAME, "Stalled", "GoldenCheckFailed")
        assert "version 6" in stalled["message"]
        assert "cosine" in stalled["message"]
        marked = live.traffic.read()
        assert set(live.traffic.after(8).since(marked).by_version) == {"1"}
    assert all(s.ready_versions() == {NAME: [1]} for s in servers(live.namespace, NAME))
    live.settle(1)
    assert live.lives() == before


def test_there_and_back_in_quick_succession(live: Live) -> None:
    live.keep(2)
    before = live.lives()
    with live.traffic.unharmed():
        for _ in range(3):
            live.edit(1, 2, maxQueueDelay="1ms")
            live.edit(1, 2, policy=FIRST)
        live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [1], max_queue_delay_microseconds=5000)
    assert live.lives() == before


def test_a_return_in_the_middle_of_a_rollout(live: Live) -> None:
    """The servers run the new version, nothing is committed, and the spec goes back to what was."""
    live.keep(2)
    before, old = live.lives(), committed_id(live.namespace, NAME)
    with live.traffic.unharmed():
        with held_commits(live.namespace, f"{NAME}-config"):
            live.edit(1, 2)
            until(lambda: old not in live.config_ids(), "both servers run version 2", seen=live.config_ids)
            live.edit(1, 2, policy=FIRST)
            until(lambda: set(live.config_ids()) == {old}, "both servers run version 1 again", seen=live.config_ids)
        live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [1])
    assert live.lives() == before


def test_an_edit_during_a_sync(live: Live) -> None:
    """Another edit takes effect while a version is being fetched; the version follows when it is there."""
    live.settle(1)
    before = live.lives()
    with held_source(live.namespace, FILES[7]) as source:
        versions = live.versions(1, 7)
        versions[1]["source"]["uri"] = source.uri
        with live.traffic.unharmed():
            edit(live.namespace, NAME, {"versions": versions})
            source.wait_asked()
            edit(live.namespace, NAME, {"batching": {"maxQueueDelay": "7ms"}})

            def delays() -> set[int]:
                return {
                    s.config(NAME)["dynamic_batching"]["max_queue_delay_microseconds"]
                    for s in servers(live.namespace, NAME)
                }

            until(lambda: delays() == {7000}, "the new delay is in both servers", seen=delays)
            assert live.state_of(7) == "Syncing"
            source.release()
            live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [7], max_queue_delay_microseconds=7000)
    jobs = [j["metadata"]["name"] for j in live.namespace.kubectl.list("jobs") if "-v7-" in j["metadata"]["name"]]
    assert len(jobs) == 1, jobs
    assert live.lives() == before


def test_a_version_taken_back_during_its_sync(live: Live) -> None:
    live.settle(1)
    with held_source(live.namespace, FILES[8]) as source, live.traffic.unharmed():
        versions = live.versions(1, 8)
        versions[1]["source"]["uri"] = source.uri
        edit(live.namespace, NAME, {"versions": versions})
        source.wait_asked()
        live.edit(1)
        live.namespace.wait_ready(NAME)

        def jobs() -> list[str]:
            return [
                j["metadata"]["name"] for j in live.namespace.kubectl.list("jobs") if "-v8-" in j["metadata"]["name"]
            ]

        until(lambda: not jobs(), "its Job is gone", seen=jobs)
    assert_settled(live.namespace, NAME, [1])
    assert [v["version"] for v in live.namespace.clip(NAME)["status"]["versions"]] == [1]


def test_a_status_wiped_in_the_middle_of_a_rollout(live: Live) -> None:
    live.keep(2)
    before, old = live.lives(), committed_id(live.namespace, NAME)
    with live.traffic.unharmed():
        with held_commits(live.namespace, f"{NAME}-config"):
            live.edit(1, 2)
            until(lambda: old not in live.config_ids(), "both servers run version 2", seen=live.config_ids)
            live.namespace.kubectl.patch(
                "clip", NAME, [{"op": "replace", "path": "/status", "value": {}}], subresource="status", how="json"
            )
            until(lambda: condition(live.namespace.clip(NAME), "Ready"), "there is a status again")
        live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [2])
    assert live.lives() == before


def test_a_server_that_restarts_before_the_commit_comes_back_with_what_was_committed(
    live: Live, operator: OperatorPod
) -> None:
    """The operator is down, and one server of two was restarted after it had taken over the new version: it serves what it did before."""
    live.keep(2)
    before, old = live.lives(), committed_id(live.namespace, NAME)
    with held_commits(live.namespace, f"{NAME}-config"):
        live.edit(1, 2)
        until(lambda: old not in live.config_ids(), "both servers run version 2", seen=live.config_ids)
        with operator.down():
            victim, other = servers(live.namespace, NAME)
            victim.kill_container()
            restarted(victim, before)
            assert victim.config_id(NAME) == old
            assert victim.ready_versions() == {NAME: [1]}
            assert other.ready_versions() == {NAME: [2]}
    live.namespace.wait_ready(NAME)
    assert_settled(live.namespace, NAME, [2])
    changed = {uid for uid, life in live.lives().items() if life != before.get(uid)}
    assert len(changed) == 1, (before, live.lives())
    # A restart may cost a request that was on its way; never a wrong answer.
    assert live.traffic.after(8).wrong == 0
