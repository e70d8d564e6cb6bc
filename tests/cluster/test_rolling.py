"""Pods that are replaced under requests of which none may fail: by an edit, with room for a pod more, by an eviction, and for every change under `Replace`.

Where there is no room: test_profiles.py. Where one replica leaves a gap: test_revisions.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.cluster import Kubectl, Namespace, clip_model, until
from support.faults import evict, write_to_volume
from support.lane import Lane, patient_lane
from support.model_server import ModelServer
from support.servers import RESOURCES, assert_settled, edit, lives, servers, wait_replaced
from support.tiny_onnx import build_tiny_onnx
from support.traffic import Traffic, traffic

NAME = "tiny"
FILE = build_tiny_onnx(seed=1)
REPLACED = "replaced"
# A server with one of them takes some 115 MiB, with two 210.
LIMIT = "160Mi"
FILES = {v: build_tiny_onnx(seed=1, memory_mib=60, note=f"replaced {v}") for v in (1, 2, 3)}


@pytest.fixture(scope="module")
def lane(kubectl: Kubectl) -> Iterator[Lane]:
    """One whose pods serve on as long as users' do: until everything has heard that they go."""
    with patient_lane(kubectl) as made:
        yield made


@pytest.fixture(scope="module")
def single(shared_namespace: Namespace, model_server: ModelServer) -> Namespace:
    """A ClipModel of one pod, on a volume of its own."""
    uri, sha256 = model_server.put(FILE)
    clip = clip_model(NAME, uri=uri, sha256=sha256)
    clip["spec"]["serving"] = {"replicas": 1, "resources": RESOURCES}
    shared_namespace.kubectl.apply(clip)
    shared_namespace.wait_ready(NAME)
    return shared_namespace


def test_one_replica_is_replaced_without_a_gap(single: Namespace) -> None:
    [old] = single.server_pods(NAME)
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    # A connection that is kept ends with its pod, whenever that is; whoever keeps one must be ready to make another.
    with (
        traffic(single.kubectl, name=NAME, image=image, answers={1: FILE}, keeps_connections=False) as requests,
        requests.unharmed(),
    ):
        edit(single, NAME, {"serving": {"podAnnotations": {"example.com/restarted": "now"}}})
        single.wait_ready(NAME)
        # Until the old pod is gone: its end is part of the change.
        until(
            lambda: (
                [p["metadata"]["name"] for p in single.server_pods(NAME)] != [old["metadata"]["name"]]
                and len(single.server_pods(NAME)) == 1
            ),
            "one pod is left, another one",
            seen=lambda: single.server_pods(NAME),
        )
    assert_settled(single, NAME, [1])
    [event] = [e for e in single.events(NAME) if e["reason"] == "RollingUpdate"]
    assert event["type"] == "Normal"
    assert "maxSurge 1, maxUnavailable 0" in event["message"]
    assert "ReadWriteOnce" in event["message"]


def test_pods_of_a_volume_that_one_node_can_mount_are_kept_on_it(single: Namespace) -> None:
    """As the API server has it: with one node here, nothing else could show it."""
    [pod] = single.server_pods(NAME)
    [term] = pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_an_evicted_pod_is_replaced_without_a_lost_request(single: Namespace) -> None:
    """As `kubectl drain` does it, with clients that make a connection for each request."""
    image, kubectl = os.environ["CLIPMODEL_SYNC_IMAGE"], single.kubectl
    edit(single, NAME, {"serving": {"replicas": 2}})
    until(lambda: single.clip(NAME)["status"].get("readyReplicas") == 2, "two pods are proven")
    single.wait_ready(NAME)
    with (
        traffic(kubectl, name=NAME, image=image, answers={1: FILE}, keeps_connections=False) as requests,
        requests.unharmed(),
    ):
        victim = servers(single, NAME)[0]
        evict(single, victim.pod)
        wait_replaced(single, NAME, victim.pod, count=2)
    assert_settled(single, NAME, [1])


@pytest.fixture(scope="module")
def asked(shared_namespace: Namespace, model_server: ModelServer) -> Iterator[Traffic]:
    """Two pods whose memory holds one copy, and requests to them."""
    sources = {v: model_server.put(content) for v, content in FILES.items()}
    versions = [{"version": v, "source": {"uri": uri, "sha256": sha256}} for v, (uri, sha256) in sources.items()]
    clip = clip_model(REPLACED, uri="", sha256="", versions=versions, versionPolicy=_only(1))
    resources = {**RESOURCES, "limits": {"memory": LIMIT}}
    clip["spec"] |= {"serving": {"replicas": 2, "resources": resources}, "rollout": {"strategy": "Replace"}}
    shared_namespace.kubectl.apply(clip)
    until(lambda: len(lives(shared_namespace, REPLACED)) == 2, "both pods are there")
    shared_namespace.wait_ready(REPLACED)
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    with traffic(
        shared_namespace.kubectl, name=REPLACED, image=image, answers=FILES, keeps_connections=False
    ) as requests:
        yield requests


def _only(version: int) -> dict[str, object]:
    return {"specific": {"versions": [version]}}


def test_new_pods_bring_every_change_where_memory_holds_one_copy(shared_namespace: Namespace, asked: Traffic) -> None:
    before = set(lives(shared_namespace, REPLACED))
    with asked.unharmed():
        edit(shared_namespace, REPLACED, {"versionPolicy": _only(2)})
        shared_namespace.wait_ready(REPLACED)
        until(
            lambda: before.isdisjoint(lives(shared_namespace, REPLACED)),
            "the old pods are gone",
            seen=lambda: lives(shared_namespace, REPLACED),
        )
    assert_settled(shared_namespace, REPLACED, [2])
    assert [restarts for restarts, _ in lives(shared_namespace, REPLACED).values()] == [0, 0]


def test_a_target_that_does_not_start_is_left_at_its_first_crash(shared_namespace: Namespace, asked: Traffic) -> None:
    before, proven = lives(shared_namespace, REPLACED), shared_namespace.clip(REPLACED)["status"]["rollout"]
    write_to_volume(shared_namespace, f"{REPLACED}-models", f"repository/{REPLACED}/3/model.onnx", None)
    with asked.unharmed():
        edit(shared_namespace, REPLACED, {"versionPolicy": _only(3)})
        failed = shared_namespace.wait_reason(REPLACED, "Ready", "ServerFailed")
        assert "does not start with it" in failed["message"]
        assert "Meanwhile version 2 serves" in failed["message"]
        rollout = shared_namespace.clip(REPLACED)["status"]["rollout"]
        assert (rollout["tries"], rollout["provenRevision"]) == (1, proven["provenRevision"])
        until(
            lambda: lives(shared_namespace, REPLACED) == before,
            "the pods of before are left, and no other",
            seen=lambda: lives(shared_namespace, REPLACED),
        )
        edit(shared_namespace, REPLACED, {"versionPolicy": _only(2)})
        shared_namespace.wait_ready(REPLACED)
    assert_settled(shared_namespace, REPLACED, [2])
    assert lives(shared_namespace, REPLACED) == before
