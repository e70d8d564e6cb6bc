"""Pods that are replaced under requests of which none may fail: by an edit, with room for a pod more, and by an eviction. Where there is no room: test_profiles.py."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.cluster import Kubectl, Namespace, clip_model, until
from support.faults import evict
from support.lane import Lane, patient_lane
from support.model_server import ModelServer
from support.servers import RESOURCES, assert_settled, edit, servers, wait_replaced
from support.tiny_onnx import build_tiny_onnx
from support.traffic import traffic

NAME = "tiny"
FILE = build_tiny_onnx(seed=1)


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
