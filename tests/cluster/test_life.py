"""What happens to a ClipModel that serves: it is deleted, changed, scaled; the operator is away, or dies."""

from __future__ import annotations

import pytest

from support.cluster import Namespace, OperatorPod, clip_model, condition, until

GONE_WITHIN_S = 60.0
#: One for each test, all of them made at once.
NAMES = ("changed", "scaled", "deleted", "deleted-alone", "lost")


@pytest.fixture(scope="module")
def served(shared_namespace: Namespace, tiny: tuple[str, str]) -> Namespace:
    uri, sha256 = tiny
    for name in NAMES:
        shared_namespace.kubectl.apply(clip_model(name, uri=uri, sha256=sha256))
    for name in NAMES:
        shared_namespace.wait_ready(name)
    return shared_namespace


def _wait_gone(namespace: Namespace, name: str) -> None:
    until(
        lambda: not namespace.children(name),
        "everything is gone",
        deadline_s=GONE_WITHIN_S,
        seen=lambda: namespace.children(name),
    )


def test_other_bytes_under_a_synced_version_are_refused_and_the_old_go_on(
    served: Namespace, other_tiny: tuple[str, str]
) -> None:
    uri, sha256 = other_tiny
    served.kubectl.apply(clip_model("changed", uri=uri, sha256=sha256))
    ready = served.wait_reason("changed", "Ready", "VersionImmutable")
    assert ready["status"] == "False"
    assert "version 1" in ready["message"]
    status = served.clip("changed")["status"]
    assert status["servingVersions"] == [1]
    assert condition({"status": status}, "Available")["status"] == "True"  # type: ignore[index]  # it is there


def test_scaling_is_told_truthfully(served: Namespace) -> None:
    served.kubectl("scale", "clip/scaled", "--replicas=2")
    until(
        lambda: served.clip("scaled")["status"]["readyReplicas"] == 2,
        "two pods are proven",
        seen=lambda: served.clip("scaled")["status"],
    )
    served.kubectl("scale", "clip/scaled", "--replicas=0")
    ready = served.wait_reason("scaled", "Ready", "ScaledToZero")
    assert ready["status"] == "False"
    until(
        lambda: served.clip("scaled")["status"]["servingVersions"] == [],
        "no version serves",
        deadline_s=GONE_WITHIN_S,
    )


def test_deletion_leaves_nothing(served: Namespace) -> None:
    assert served.children("deleted")
    served.kubectl("delete", "clip", "deleted")
    _wait_gone(served, "deleted")


def test_while_the_operator_is_down_a_lost_pod_comes_back_proven_and_deletion_leaves_nothing(
    served: Namespace, operator: OperatorPod
) -> None:
    """The pod is proven by its own startup probe; what belongs to a ClipModel goes by its owner references."""
    kubectl = served.kubectl
    [old] = served.server_pods("lost")
    assert served.children("deleted-alone")
    with operator.down():
        kubectl.delete("clip", "deleted-alone")
        kubectl.delete("pod", old["metadata"]["name"])
        kubectl.wait_gone("pod", old["metadata"]["name"])
        kubectl.wait_rolled_out("lost")
        _wait_gone(served, "deleted-alone")
    served.wait_ready("lost")


def test_an_operator_that_is_killed_while_a_version_is_fetched_goes_on_with_that_fetch(
    namespace: Namespace, operator: OperatorPod, tiny: tuple[str, str]
) -> None:
    """A real process that starts anew, beside a Job that runs. Kills after each write: tests/sequence/test_disorder.py; at random: test_chaos.py."""
    kubectl = namespace.kubectl
    uri, sha256 = tiny
    kubectl.apply(clip_model("tiny", uri=uri, sha256=sha256))
    until(lambda: kubectl.list("jobs") or None, "the Job is there")
    operator.kill()
    namespace.wait_ready("tiny")
    jobs = kubectl.list("jobs")
    assert len(jobs) == 1, [j["metadata"]["name"] for j in jobs]
