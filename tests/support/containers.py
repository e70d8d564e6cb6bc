"""Containers of the engine on this machine, for tests of an image without a cluster."""

from __future__ import annotations

import subprocess

import pytest


def docker(*arguments: str) -> str:
    found = subprocess.run(
        ["docker", *arguments], check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert found.returncode == 0, f"docker {' '.join(arguments)}: {found.stdout}"
    return found.stdout


def wait_for_line(container: str, words: str) -> None:
    """Follow the log, which ends when the container does."""
    lines = []
    with subprocess.Popen(
        ["docker", "logs", "--follow", container], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as logs:
        assert logs.stdout is not None
        for line in logs.stdout:
            lines.append(line)
            if words in line:
                logs.kill()
                return
    pytest.fail(f"the server ended without {words!r}:\n{''.join(lines[-40:])}")
