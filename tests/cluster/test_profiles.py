"""Profiles on a real cluster: what `auto` becomes and stays, changes between cpu and gpu on one volume, and rolling where every GPU is taken.

The GPUs are the scheduler's only (support/gpus.py). Triton ends where it finds none, so that a pod of profile gpu is scheduled here, never ready;
pods of profile cpu that ask for a GPU serve.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.audit import Write, operator_writes
from support.cluster import Kubectl, Namespace, Object, OperatorPod, clip_model, condition, until
from support.gpus import GPU, Gpus, fake_gpus
from support.lane import Lane, patient_lane
from support.servers import (
    RESOURCES,
    SHORTEST_GRACE,
    Server,
    assert_settled,
    committed_id,
    edit,
    lives,
    restarted,
    servers,
)
from support.tiny_onnx import build_tiny_onnx
from support.traffic import traffic

ROOT = Path(__file__).parents[2]
FILE = build_tiny_onnx(seed=1)  # what `tiny` gives
NAME = "tiny"
# Two pods, one after the other: each serves on for 10 s after it was asked to end, and its successor starts Triton.
ROLLED_WITHIN_S = 240.0


@pytest.fixture
def gpus(kubectl: Kubectl) -> Iterator[Gpus]:
    with fake_gpus(kubectl) as found:
        yield found


@pytest.fixture(scope="module")
def lane(kubectl: Kubectl) -> Iterator[Lane]:
    """One whose pods serve on as long as users' do: in some tests no request may fail while pods are replaced."""
    with patient_lane(kubectl) as made:
        yield made


@pytest.fixture
def auto_profile(lane: Lane) -> Path:
    """Give manifests/auto-profile for the service account of this lane's operator."""
    folder = ROOT / "build" / "test-install" / f"{lane.name}-auto-profile"
    folder.mkdir(parents=True, exist_ok=True)
    account = [{"op": "replace", "path": "/subjects/0/namespace", "value": lane.system}]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../../manifests/auto-profile"],
        "patches": [{"target": {"kind": "ClusterRoleBinding"}, "patch": json.dumps(account)}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    return folder


@pytest.fixture
def without_the_right(kubectl: Kubectl, auto_profile: Path) -> Iterator[Callable[[], None]]:
    """Nobody may list nodes for the operator until what is given here is called."""

    def take() -> None:
        kubectl("delete", "--ignore-not-found", "-k", str(auto_profile))

    def give() -> None:
        kubectl("apply", "--server-side", "-k", str(auto_profile))

    take()
    yield give
    take()


def template(namespace: Namespace, name: str) -> Object:
    found: Object = namespace.kubectl.the("deployment", name)["spec"]["template"]
    return found


def scheduled(namespace: Namespace, name: str) -> Object:
    """Wait for a server pod on a node."""
    return until(
        lambda: next((p for p in namespace.server_pods(name) if p["spec"].get("nodeName")), None),
        f"a pod of {name} is scheduled",
        seen=lambda: namespace.clip(name).get("status"),
    )


def asked_gpus(pod_spec: Mapping[str, Any]) -> str | None:
    """Give what a pod's container asks for; the API server has made a text of the number."""
    resources = pod_spec["containers"][0].get("resources") or {}
    requests, limits = ((resources.get(part) or {}).get(GPU) for part in ("requests", "limits"))
    assert requests == limits
    return limits if limits is None else str(limits)


def wait_said(namespace: Namespace, name: str, reason: str, *words: str) -> Mapping[str, Any]:
    """Wait until Ready is of this reason and its message has all the words."""

    def look() -> Mapping[str, Any] | None:
        clip = namespace.clip(name)
        ready = condition(clip, "Ready")
        is_it = ready and ready["reason"] == reason and all(w in ready["message"] for w in words)
        return ready if is_it and clip["status"]["observedGeneration"] == clip["metadata"]["generation"] else None

    return until(look, f"Ready of {name} is {reason} and says {words}", seen=lambda: namespace.clip(name).get("status"))


def writes_about(node: str, namespace: Namespace, name: str, *, since: datetime) -> list[Write]:
    """List what the operator wrote about one ClipModel: the names of all that it makes begin with its name."""
    return [w for w in operator_writes(node, since=since) if w.name.startswith(f"{namespace.name}/{name}")]


def test_auto_without_the_right_to_list_nodes_says_where_to_get_it(
    namespace: Namespace,
    tiny: tuple[str, str],
    without_the_right: Callable[[], None],
) -> None:
    uri, sha256 = tiny
    namespace.kubectl.apply(clip_model(NAME, uri=uri, sha256=sha256, profile="auto"))
    ready = wait_said(namespace, NAME, "ApiUnavailable", "kubectl apply --server-side -k manifests/auto-profile")
    assert ready["status"] == "False"
    assert GPU in ready["message"]
    assert not ready["message"].endswith("…"), "all of it is there"
    status = namespace.clip(NAME)["status"]
    assert "profile" not in status
    assert namespace.kubectl.list("jobs") == [], "nothing is fetched to a volume that may be bound in the wrong place"
    without_the_right()
    assert namespace.wait_ready(NAME)["status"]["profile"] == "cpu"


def test_auto_is_chosen_once(
    audit_log: str,
    namespace: Namespace,
    operator: OperatorPod,
    tiny: tuple[str, str],
    without_the_right: Callable[[], None],
    gpus: Gpus,
) -> None:
    """The first becomes cpu and stays it when a GPU comes; the second becomes gpu and stays it when the GPU goes."""
    without_the_right()
    uri, sha256 = tiny
    namespace.kubectl.apply(clip_model("first", uri=uri, sha256=sha256, profile="auto"))
    assert namespace.wait_ready("first")["status"]["profile"] == "cpu"
    assert asked_gpus(template(namespace, "first")["spec"]) is None
    before, status = lives(namespace, "first"), namespace.clip("first")["status"]

    since = datetime.now(UTC)
    gpus.offer(1)
    namespace.kubectl.apply(clip_model("second", uri=uri, sha256=sha256, profile="auto"))
    pod = scheduled(namespace, "second")
    assert asked_gpus(pod["spec"]) == "1"
    assert "--model-config-name=gpu" in pod["spec"]["containers"][0]["args"]
    assert namespace.clip("second")["status"]["profile"] == "gpu"

    operator.restart()
    # A ClipModel that is made now is worked on after what the new operator found at its start.
    namespace.kubectl.apply(clip_model("third", uri=uri, sha256=sha256, serving={"replicas": 0}))
    wait_said(namespace, "third", "ScaledToZero")
    assert namespace.clip("first")["status"] == status
    assert writes_about(audit_log, namespace, "first", since=since) == []

    # An edit that needs no new pod makes it look at everything anew, with a GPU there.
    edit(namespace, "first", {"batching": {"maxQueueDelay": "1ms"}})
    assert namespace.wait_ready("first")["status"]["profile"] == "cpu"
    assert lives(namespace, "first") == before
    written = {w.resource for w in writes_about(audit_log, namespace, "first", since=since)}
    assert written == {"clipmodels", "configmaps", "events"}, "the audit log shows what is written, and no Deployment"

    gpus.withdraw()
    operator.restart()
    edit(namespace, "second", {"serving": {"podAnnotations": {"example.com/edit": "1"}}})
    until(
        lambda: template(namespace, "second")["metadata"]["annotations"].get("example.com/edit"),
        "the edit is in the Deployment",
        seen=lambda: namespace.clip("second").get("status"),
    )
    assert asked_gpus(template(namespace, "second")["spec"]) == "1"
    assert namespace.clip("second")["status"]["profile"] == "gpu"


def test_gpu_waits_for_a_gpu_and_is_scheduled_where_one_is(
    namespace: Namespace, tiny: tuple[str, str], gpus: Gpus
) -> None:
    """As far as it goes without one: the volume and the pod land on the node that offers it, and status says why Triton ends."""
    uri, sha256 = tiny
    namespace.kubectl.apply(clip_model(NAME, uri=uri, sha256=sha256, profile="gpu"))
    waiting = wait_said(namespace, NAME, "Syncing", f"Insufficient {GPU}")
    assert waiting["status"] == "Unknown"
    assert not namespace.server_pods(NAME)
    gpus.offer(1)
    pod = scheduled(namespace, NAME)
    assert pod["spec"]["nodeName"] == gpus.node
    assert asked_gpus(pod["spec"]) == "1"
    failed = wait_said(namespace, NAME, "ServerFailed", "unsupported gpu id")
    assert failed["status"] == "False"


def cpu_servers(namespace: Namespace, name: str) -> list[Server]:
    """List the pods that read the config of profile cpu when they start."""
    found = {
        p["metadata"]["name"]
        for p in namespace.server_pods(name)
        if p["metadata"]["annotations"]["clipmodel.dev/profile"] == "cpu"
    }
    return [s for s in servers(namespace, name) if s.pod in found]


def restart_and_replace(namespace: Namespace, before: Mapping[str, tuple[int, str]], committed: str) -> None:
    """Restart every pod of profile cpu and lose one: all of them come back with what was committed, and are proven again."""
    survivors = cpu_servers(namespace, NAME)
    assert survivors
    for server in survivors:
        server.kill_container()
        restarted(server, before)
        assert server.config_id(NAME) == committed
        assert server.ready_versions() == {NAME: [1]}
    # A pod that takes the place of a lost one is of the old template still.
    namespace.kubectl.delete("pod", survivors[0].pod)
    namespace.kubectl.wait_gone("pod", survivors[0].pod)
    until(
        lambda: [s.config_id(NAME) for s in cpu_servers(namespace, NAME)] == [committed] * len(survivors) or None,
        "another pod of profile cpu serves",
        seen=lambda: namespace.server_pods(NAME),
    )
    until(
        lambda: namespace.clip(NAME)["status"]["servingVersions"] == [1] or None,
        "the pods that restarted are proven again",
        seen=lambda: namespace.clip(NAME)["status"],
    )


def test_from_cpu_to_gpu_and_back_on_one_volume(namespace: Namespace, tiny: tuple[str, str], gpus: Gpus) -> None:
    """No pod of profile gpu ever becomes ready: those of profile cpu go on, restart with their own config, and the way back mends all."""
    uri, sha256 = tiny
    serving = {"replicas": 2, "resources": RESOURCES, "terminationGracePeriod": SHORTEST_GRACE}
    namespace.kubectl.apply(clip_model(NAME, uri=uri, sha256=sha256, serving=serving))
    namespace.wait_ready(NAME)
    volume = namespace.kubectl.the("pvc", f"{NAME}-models")["spec"]["volumeName"]
    committed, before = committed_id(namespace, NAME), lives(namespace, NAME)
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    with traffic(namespace.kubectl, name=NAME, image=image, answers={1: FILE}, keeps_connections=False) as requests:
        with requests.unharmed():
            edit(namespace, NAME, {"profile": "gpu"})
            said = wait_said(namespace, NAME, "ServerFailed", f"Insufficient {GPU}", "Meanwhile version 1 serves")
            pending = [p for p in namespace.server_pods(NAME) if not p["spec"].get("nodeName")]
            assert len(pending) == 1
            assert f"pod {pending[0]['metadata']['name']} cannot be scheduled" in said["message"]
            status = namespace.clip(NAME)["status"]
            assert (status["profile"], status["servingVersions"]) == ("gpu", [1])
            assert condition({"status": status}, "Available")["status"] == "True"  # type: ignore[index]  # it is there
            assert status["readyReplicas"] == 0, "none of the new template"
            requests.after(16)

            gpus.offer(1)
            wait_said(namespace, NAME, "ServerFailed", "unsupported gpu id", "Meanwhile version 1 serves")
            requests.after(16)
        # Nothing that was committed has changed, and the config of each profile is there for whoever restarts.
        assert committed_id(namespace, NAME) == committed
        assert committed_id(namespace, NAME, "gpu") != committed
        restart_and_replace(namespace, before, committed)
        cpu_pods = {s.pod for s in cpu_servers(namespace, NAME)}
        uids = {p["metadata"]["uid"] for p in namespace.server_pods(NAME) if p["metadata"]["name"] in cpu_pods}
        survived = {uid: life for uid, life in lives(namespace, NAME).items() if uid in uids}.items()
        requests.after(8)  # what failed while no server was there is over
        with requests.unharmed():
            edit(namespace, NAME, {"profile": "cpu"})
            clip = namespace.wait_ready(NAME)
        assert requests.read().wrong == 0
    assert (clip["status"]["profile"], clip["status"]["readyReplicas"]) == ("cpu", 2)
    assert_settled(namespace, NAME, [1])
    after = lives(namespace, NAME)
    assert len(after) == 2
    assert survived <= after.items(), "no pod that served was replaced or restarted on the way back"
    assert namespace.kubectl.the("pvc", f"{NAME}-models")["spec"]["volumeName"] == volume
    assert len(namespace.kubectl.list("jobs")) == 1, "nothing was fetched again"


def rolled(namespace: Namespace, marker: str, count: int) -> bool | None:
    pods = namespace.server_pods(NAME)
    return (
        len(pods) == count
        and all(p["metadata"]["annotations"].get("example.com/edit") == marker for p in pods)
        and namespace.clip(NAME)["status"]["readyReplicas"] == count
    ) or None


def test_pods_roll_where_every_gpu_is_taken(namespace: Namespace, tiny: tuple[str, str], gpus: Gpus) -> None:
    """As many GPUs as pods: one pod more would wait for ever, so an old one goes first. With a second pod, no request fails.

    With one pod alone the operator does the same and warns of the gap: tests/sequence/test_rolling.py.
    """
    count = 2
    gpus.offer(count)
    uri, sha256 = tiny
    serving = {"replicas": count, "resources": {**RESOURCES, "limits": {GPU: 1}}}
    namespace.kubectl.apply(clip_model(NAME, uri=uri, sha256=sha256, serving=serving))
    namespace.wait_ready(NAME)
    before = {p["metadata"]["uid"] for p in namespace.server_pods(NAME)}
    assert len(before) == count
    assert {asked_gpus(p["spec"]) for p in namespace.server_pods(NAME)} == {"1"}
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    sent = traffic(namespace.kubectl, name=NAME, image=image, answers={1: FILE}, keeps_connections=False)
    with sent as requests, requests.unharmed():
        edit(namespace, NAME, {"serving": {"podAnnotations": {"example.com/edit": "1"}}})
        until(
            lambda: rolled(namespace, "1", count),
            "every pod is of the new template",
            deadline_s=ROLLED_WITHIN_S,
            seen=lambda: namespace.clip(NAME).get("status"),
        )
    namespace.wait_ready(NAME)
    events = sorted(
        (e for e in namespace.events(NAME) if e["reason"] == "RollingUpdate"), key=lambda e: "Surge 0" in e["message"]
    )
    assert [e["type"] for e in events] == ["Normal", "Normal"]
    assert "maxSurge 1" in events[0]["message"]
    assert "maxSurge 0" in events[1]["message"]
    assert f"Insufficient {GPU}" in events[1]["message"]
    assert not before & {p["metadata"]["uid"] for p in namespace.server_pods(NAME)}
    assert {asked_gpus(p["spec"]) for p in namespace.server_pods(NAME)} == {"1"}
