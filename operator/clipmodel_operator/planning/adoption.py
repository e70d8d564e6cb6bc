"""Taking over from a release that knew of no revisions, and wrote down no attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.rendering.config_map import is_without_revisions


def was_left_midway(config_map: Mapping[str, Any] | None, status: ClipModelStatus, *, generation: int) -> bool:
    """Tell whether such a release may have ended in the middle of a load under the real name, which Triton finishes nevertheless.

    Before it loaded anything it said that it was not at rest.
    """
    is_at_rest = status.observed_generation == generation and any(
        c.type == "Ready" and c.status == "True" for c in status.conditions
    )
    return is_without_revisions(config_map) and not is_at_rest


def with_unknown_attempt(record: RolloutRecord, ledger: Ledger, target: Revision | None) -> RolloutRecord:
    """Say that something was attempted, and is to be undone: pods are on what is committed for sure before anything else is tried."""
    if record.attempt is not None or ledger.proven is None:
        return record
    return replace(record, attempt=Attempt(target or ledger.proven, Phase.RETURNING))
