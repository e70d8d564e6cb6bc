"""The sync's reasons, whether waiting helps, and exit codes: those of docs/spec/sync.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipmodel_contract.exit_codes import FINAL, ExitCode, exit_code_of
from clipmodel_contract.reasons import AT_SOURCE, SyncReason

PAGE = (Path(__file__).parents[3] / "docs/spec/sync.md").read_text("utf-8")


def test_reasons_are_those_of_the_page_in_its_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (Failed|Retry) \|", PAGE, re.MULTILINE)
    assert len(rows) > 10
    assert [(reason.value, "Failed" if reason.is_final else "Retry") for reason in SyncReason] == rows


def test_reasons_are_one_word() -> None:
    for reason in SyncReason:
        assert re.fullmatch(r"[A-Z][A-Za-z]{1,63}", reason)


def test_what_is_mended_at_the_source_is_final() -> None:
    assert all(reason.is_final for reason in AT_SOURCE)


@pytest.mark.parametrize("reason", SyncReason)
def test_exit_codes_follow_the_reason(reason: SyncReason) -> None:
    expected = {SyncReason.INVALID_ARGUMENTS: 2, SyncReason.INTERNAL_ERROR: 1}
    assert exit_code_of(reason) == expected.get(reason, 10 if reason.is_final else 11)


def test_exit_codes_are_those_of_the_page() -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith("Exit codes:")]
    assert line.startswith("Exit codes: 0 synced · 2 wrong usage · 10 a person must act · 11 trying again can help")
    assert [int(code) for code in ExitCode] == [0, 1, 2, 10, 11]
    assert [int(code) for code in FINAL] == [2, 10], "the Job's podFailurePolicy ends it at once on these"
