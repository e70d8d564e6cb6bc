"""The `clipmodel` command, run as the shell runs it, in this process."""

from __future__ import annotations

import sys

import pytest

from clipmodel_operator import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command, and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["clipmodel", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    return code if isinstance(code, int) else 1 if code else 0
