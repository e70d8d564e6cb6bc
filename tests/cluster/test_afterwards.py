"""What can be asked when all else has ended: what operators wrote in the whole run, by the API server's own audit log; and the cluster-wide install, which is alone or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from support.audit import Write, operator_writes
from support.cluster import OPERATOR_NAMESPACE, Kubectl, Namespace, OperatorPod, clip_model, condition, until
from support.lane import Lane, clear, install, list_at_rest, stop_cluster_wide

pytestmark = pytest.mark.alone

# What belongs to becoming ready: the events, after the status that they tell of.
SETTLED_S = 5.0
# A run of all tests leaves them at rest for many minutes, and kills their operators again and again; a run of this file alone waits.
REST_S = 60.0
EVER = timedelta(days=1)


@pytest.fixture(scope="module")
def at_rest(kubectl: Kubectl, lane: Lane) -> list[Namespace]:  # noqa: ARG001 - it sets them at rest
    """Each lane's namespace that nobody touched since it was ready."""
    found = list_at_rest(kubectl)
    for namespace in found:
        namespace.wait_ready("one")
        namespace.wait_reason("broken", "Ready", "DigestMismatch")
    return found


def at_rest_since(namespace: Namespace) -> datetime:
    """Give the moment from which on nothing had to be written any more."""
    conditions = [condition(namespace.clip(name), "Ready") for name in ("one", "broken")]
    ready = [datetime.fromisoformat(c["lastTransitionTime"]) for c in conditions if c]
    return max(ready) + timedelta(seconds=SETTLED_S)


def wait_past(moment: datetime) -> None:
    until(lambda: datetime.now(UTC) > moment, f"it is {moment}")


def restart(namespace: Namespace, name: str = "last") -> None:
    """Kill the namespace's operator, and wait until another one has come to what was made after all else."""
    OperatorPod(namespace.kubectl.within(namespace.operator_namespace)).restart()
    namespace.kubectl.apply(clip_model(name, uri="http://nowhere.invalid/x.onnx", sha256="ab" * 32, paused=True))
    namespace.wait_reason(name, "Paused", "Paused")


def writes_in(node: str, namespace: Namespace, *, since: datetime) -> list[Write]:
    """List what operators wrote in a namespace, but for what `restart` made there."""
    ours = f"{namespace.name}/"
    return [
        w
        for w in operator_writes(node, since=since)
        if w.name.startswith(ours) and not w.name.removeprefix(ours).startswith("last")
    ]


def test_nothing_is_written_at_rest_nor_after_a_restart(audit_log: str, at_rest: list[Namespace]) -> None:
    assert operator_writes(audit_log), "the audit log holds no write of an operator: it cannot prove anything"
    for namespace in at_rest:
        since = at_rest_since(namespace)
        assert writes_in(audit_log, namespace, since=since - EVER), "what was written to become ready is seen"
        restart(namespace)
        wait_past(since + timedelta(seconds=REST_S))
        assert writes_in(audit_log, namespace, since=since) == []


def test_the_operator_never_writes_to_what_users_own(audit_log: str, at_rest: list[Namespace]) -> None:  # noqa: ARG001 - something was written
    """Spec, labels and annotations of a ClipModel belong to Git: of all writes in the whole run, only those to status are allowed."""
    to_clip_models = [w for w in operator_writes(audit_log) if w.resource == "clipmodels"]
    assert to_clip_models
    assert {w.subresource for w in to_clip_models} == {"status"}


def test_no_write_is_refused(audit_log: str, at_rest: list[Namespace]) -> None:
    """A write that the role does not allow, or that the API server finds invalid, would be tried for ever. Elsewhere tests provoke some."""
    names = tuple(f"{namespace.name}/" for namespace in at_rest)
    written = [w for w in operator_writes(audit_log) if w.name.startswith(names)]
    assert written
    assert [w for w in written if w.code in {400, 403, 405, 422}] == []


@pytest.fixture
def everywhere(kubectl: Kubectl, lane: Lane, at_rest: list[Namespace]) -> Iterator[Namespace]:
    """Stop all lanes, install manifests/cluster-wide, and give a namespace that nobody told the operator of."""
    for namespace in at_rest:
        clear(namespace)
    for system in kubectl.list("namespaces"):
        if system["metadata"]["name"].startswith(f"{OPERATOR_NAMESPACE}-"):
            other = OperatorPod(kubectl.within(system["metadata"]["name"]))
            if other.kubectl.get("deployment", "clipmodel-operator"):
                other.scale(0)
                other.wait_gone()
    operator = install(kubectl, "cluster-wide", namespace=OPERATOR_NAMESPACE, env={})
    operator.scale(1)
    operator.wait_ready()
    name = f"clipmodel-test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "clipmodel.dev/test": "true"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield Namespace(kubectl.within(name))
    kubectl.delete("namespace", name)
    stop_cluster_wide(kubectl)
    lane.operator.scale(1)  # for whoever runs the tests in another order


def test_installed_cluster_wide_it_serves_a_namespace_that_it_was_not_told_of(
    audit_log: str, everywhere: Namespace, tiny: tuple[str, str]
) -> None:
    uri, sha256 = tiny
    everywhere.kubectl.apply(clip_model("one", uri=uri, sha256=sha256))
    everywhere.wait_ready("one")
    [pod] = everywhere.server_pods("one")
    [container] = pod["spec"]["containers"]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 10}}, "as long as users' pods serve on"
    ready = condition(everywhere.clip("one"), "Ready")
    assert ready
    since = datetime.fromisoformat(ready["lastTransitionTime"]) + timedelta(seconds=SETTLED_S)
    wait_past(since)
    restart(everywhere)
    assert writes_in(audit_log, everywhere, since=since) == []
    refused = [w for w in operator_writes(audit_log) if w.name.startswith(everywhere.name) and w.code >= 400]
    assert refused == []
