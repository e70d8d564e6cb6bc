"""The checks of `make check`, each as a test, so that `make test` shows them in its one summary."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", ["lint", "type", "imports", "crds-check", "probe-check", "shell"])
def test_check(target: str) -> None:
    # The flags of the make that started pytest (a job server, a dry run) are not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=ROOT, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert result.returncode == 0, f"make {target}:\n{result.stdout}"
