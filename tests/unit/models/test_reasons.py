"""One list of reasons: the code's, and those of the pages that explain them."""

from __future__ import annotations

import re
from pathlib import Path

from clipmodel_operator.models import reasons

ROOT = Path(__file__).resolve().parents[3]
TYPES = {"READY", "RECONCILING", "STALLED", "SYNCED", "VERIFIED", "AVAILABLE", "PAUSED"}
ALL = {v for k, v in vars(reasons).items() if k.isupper() and isinstance(v, str) and k not in TYPES}


def test_reasons_are_one_word() -> None:
    for reason in ALL:
        assert re.fullmatch(r"[A-Z][A-Za-z]{1,63}", reason)


def test_each_reason_is_explained() -> None:
    page = ROOT / "docs/spec/clipmodel.md"
    text = page.read_text("utf-8")
    missing = sorted(reason for reason in ALL if f"`{reason}`" not in text)
    assert missing == [], f"{page.name} does not explain them"
