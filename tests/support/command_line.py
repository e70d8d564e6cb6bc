"""Our commands, run as the shell runs them: in this process, or in one of their own whose output nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from clipmodel_operator import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command, and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["clipmodel", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    return code if isinstance(code, int) else 1 if code else 0


def run_without_reader(
    *arguments: str, env: Mapping[str, str] | None = None, text: str = "", unbuffered: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `python` with these arguments, `text` as its standard input, and as its output a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else "", **(env or {})},
            input=text,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
