"""Containers of the engine on this machine, for tests of an image without a cluster."""

from __future__ import annotations

import http.client
import subprocess
import urllib.request

import pytest

from support.cluster import until


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


def wait_live(address: str) -> None:
    """Wait until Triton answers: it says that its service has started, and the engine's proxy connects, a moment before it listens."""

    def look() -> bool | None:
        try:
            with urllib.request.urlopen(f"http://{address}/v2/health/live", timeout=10) as answer:
                return answer.status == 200 or None
        except (OSError, http.client.HTTPException):
            return None

    until(look, f"Triton at {address} is live", deadline_s=60)
