"""A converged system writes nothing: the API server's own audit log says so."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from support.audit import operator_writes
from support.cluster import Namespace, OperatorPod, clip_model, until

REST_S = 60.0


def _until_quiet(node: str, *, for_s: float = 5.0) -> None:
    """Wait until the operator has written nothing for a while: what it had to do is done."""

    def look() -> bool | None:
        writes = operator_writes(node)
        return not writes or (datetime.now(UTC) - writes[-1].at).total_seconds() > for_s or None

    until(look, "the operator rests", seen=lambda: operator_writes(node)[-3:])


def test_nothing_is_written_at_rest_nor_after_a_restart(
    audit_log: str, namespace: Namespace, operator: OperatorPod, tiny: tuple[str, str]
) -> None:
    uri, sha256 = tiny
    for name in ("one", "two"):
        namespace.kubectl.apply(clip_model(name, uri=uri, sha256=sha256))
    namespace.kubectl.apply(clip_model("broken", uri=uri, sha256="cd" * 32))
    namespace.wait_ready("one")
    namespace.wait_ready("two")
    namespace.wait_reason("broken", "Ready", "DigestMismatch")
    before = operator_writes(audit_log)
    assert before, "the audit log holds no write of the operator: it cannot prove anything"
    _until_quiet(audit_log)

    since = datetime.now(UTC)
    time.sleep(REST_S)  # this is the measurement itself: what is written in a minute of rest
    assert operator_writes(audit_log, since=since) == []

    since = datetime.now(UTC)
    operator.kill()
    operator.wait_ready()
    until(
        lambda: "caches are filled" in operator.kubectl("logs", "deployment/clipmodel-operator") or None,
        "the new operator works",
    )
    _until_quiet(audit_log, for_s=10.0)
    assert operator_writes(audit_log, since=since) == []


def test_the_operator_never_writes_to_what_users_own(
    audit_log: str, namespace: Namespace, tiny: tuple[str, str]
) -> None:
    """Spec, labels and annotations of a ClipModel belong to Git: of all its writes in the whole run, only status is allowed."""
    uri, sha256 = tiny
    namespace.kubectl.apply(clip_model("tiny", uri=uri, sha256=sha256))
    namespace.wait_ready("tiny")
    to_clip_models = [w for w in operator_writes(audit_log) if w.resource == "clipmodels"]
    assert to_clip_models
    assert {w.subresource for w in to_clip_models} == {"status"}


def test_no_write_is_refused(audit_log: str, namespace: Namespace, tiny: tuple[str, str]) -> None:
    """A write that the role does not allow, or that the API server finds invalid, would be tried for ever."""
    uri, sha256 = tiny
    namespace.kubectl.apply(clip_model("tiny", uri=uri, sha256=sha256))
    namespace.wait_ready("tiny")
    refused = [
        w
        for w in operator_writes(audit_log)
        if w.code in {400, 403, 405, 422} and w.name.startswith(f"{namespace.name}/")
    ]
    assert refused == []
