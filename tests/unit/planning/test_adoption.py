"""What is taken for the middle of something that an earlier release did, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.clipmodel import parse_status
from clipmodel_operator.models.attempt import Attempt, Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.planning.adoption import was_left_midway, with_unknown_attempt
from clipmodel_operator.rendering.config_map import REVISIONS_KEY
from support.builders import build_config_map, build_ledger

TODAYS = build_config_map(1)
EARLIER = {**TODAYS, "data": {k: v for k, v in TODAYS["data"].items() if k != REVISIONS_KEY}}
LEDGER = build_ledger(1)


def build_status(ready: str, *, generation: int = 1) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": "R", "message": "", "observedGeneration": generation}
    condition["lastTransitionTime"] = "2026-11-22T12:00:00Z"
    return {"observedGeneration": generation, "conditions": [condition]}


@pytest.mark.parametrize(
    ("config_map", "status", "expected"),
    [
        pytest.param(EARLIER, build_status("True"), False, id="it was at rest"),
        pytest.param(EARLIER, build_status("False"), True, id="something had failed, and was tried again"),
        pytest.param(EARLIER, build_status("Unknown"), True, id="it was rolling out"),
        pytest.param(EARLIER, build_status("True", generation=0), True, id="there is an edit of which it told nothing"),
        pytest.param(EARLIER, {}, True, id="it told nothing"),
        pytest.param(TODAYS, build_status("Unknown"), False, id="today's wrote down what it attempted"),
        pytest.param(None, build_status("Unknown"), False, id="nothing is committed"),
    ],
)
def test_what_was_left_midway(config_map: dict[str, Any] | None, status: dict[str, Any], *, expected: bool) -> None:
    assert was_left_midway(config_map, parse_status({"status": status}), generation=1) is expected


def test_what_is_not_known_is_undone() -> None:
    proven = LEDGER.proven
    assert proven is not None
    assert with_unknown_attempt(RolloutRecord(), LEDGER, None).attempt == Attempt(proven, Phase.RETURNING)


def test_an_attempt_that_is_known_is_kept() -> None:
    assert LEDGER.proven is not None
    known = RolloutRecord(Attempt(LEDGER.proven, Phase.SWITCHING))
    assert with_unknown_attempt(known, LEDGER, None) == known


def test_where_nothing_is_proven_there_is_nothing_to_return_to() -> None:
    assert with_unknown_attempt(RolloutRecord(), Ledger(), LEDGER.proven) == RolloutRecord()
