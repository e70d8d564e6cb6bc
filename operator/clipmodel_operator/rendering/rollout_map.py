"""NAME-rollout: the open attempt and the failures, in a ConfigMap of its own that no pod mounts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models import names
from clipmodel_operator.models.attempt import Attempt, FailedAttempt, Phase, RolloutRecord
from clipmodel_operator.rendering.revision import read_revision, revision_to_json

ROLLOUT_KEY = "rollout.json"


def render_rollout_map(model: ClipModel, record: RolloutRecord) -> dict[str, Any]:
    """Render what is remembered of attempts."""
    attempt = record.attempt
    content = {
        "attempt": attempt and {
            "revision": revision_to_json(attempt.target),
            "phase": attempt.phase.value,
            "tries": attempt.tries,
            "pods": list(attempt.pods),
            "restarts": dict(attempt.restarts),
            "slot": attempt.slot,
        },
        "failures": [_failure_to_json(f) for f in record.failures],
        "retry": record.retry,
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.rollout_map_name(model.key.name),
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            "ownerReferences": [model.owner_reference],
        },
        "data": {ROLLOUT_KEY: json.dumps(content, indent=1, sort_keys=True)},
    }


def _failure_to_json(failure: FailedAttempt) -> dict[str, Any]:
    return {
        "revision": failure.revision,
        "template": failure.template,
        "settings": failure.settings,
        "reason": failure.reason,
        "message": failure.message,
        "isFinal": failure.is_final,
        "tries": failure.tries,
        "notBefore": failure.not_before and failure.not_before.astimezone(UTC).isoformat(timespec="seconds"),
        "version": failure.version,
        "sha256": failure.sha256,
    }


def read_rollout(config_map: Mapping[str, Any] | None) -> RolloutRecord:
    """Read what is remembered; nothing where it cannot be read: then an attempt begins anew, and may fail anew."""
    try:
        stored = json.loads(((config_map or {}).get("data") or {})[ROLLOUT_KEY])
        attempt = stored["attempt"]
        return RolloutRecord(
            attempt=attempt and Attempt(
                target=read_revision(attempt["revision"]),
                phase=Phase(attempt["phase"]),
                tries=int(attempt["tries"]),
                pods=tuple(str(p) for p in attempt["pods"]),
                restarts={str(uid): int(n) for uid, n in attempt["restarts"].items()},
                slot=str(attempt["slot"]),
            ),
            failures=tuple(_read_failure(f) for f in stored["failures"]),
            retry=str(stored["retry"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return RolloutRecord()


def _read_failure(stored: Mapping[str, Any]) -> FailedAttempt:
    not_before, version, sha256 = stored["notBefore"], stored["version"], stored["sha256"]
    return FailedAttempt(
        revision=str(stored["revision"]),
        template=str(stored["template"]),
        settings=str(stored["settings"]),
        reason=str(stored["reason"]),
        message=str(stored["message"]),
        is_final=bool(stored["isFinal"]),
        tries=int(stored["tries"]),
        not_before=datetime.fromisoformat(not_before).astimezone(UTC) if not_before else None,
        version=int(version) if version is not None else None,
        sha256=str(sha256) if sha256 is not None else None,
    )
