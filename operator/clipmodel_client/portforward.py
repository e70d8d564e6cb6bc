"""Lets a program on this machine reach a Service in the cluster, for as long as it needs to.

`kubectl port-forward` is started with a local port of its own choice, which is read from its output; it is
ended on the way out, whatever happened inside. Its output is read to the end by a thread: it writes a line
per connection, and a full pipe would stop it.
"""

import queue
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from clipmodel_client.errors import RequestTimeoutError
from clipmodel_client.kubectl import Cluster, missing, translate

DEADLINE_S = 20.0  # a healthy cluster answers within one second; a cold credential plugin takes several
_END_S = 5.0

_FORWARDING = re.compile(r"Forwarding from (127\.0\.0\.1|\[::1\]):(\d+) ->")


@contextmanager
def port_forward(cluster: Cluster, *, service: str, port: int, deadline_s: float = DEADLINE_S) -> Iterator[str]:
    """Give HOST:PORT on this machine that leads to the Service's port.

    Raises:
        ClientError: kubectl is missing, says no, or has not listened within the deadline.

    """
    command = cluster.command("port-forward", f"service/{service}", f":{port}", "--address", "127.0.0.1")
    with tempfile.TemporaryFile("w+") as stderr:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        except FileNotFoundError as error:
            raise missing() from error
        try:
            try:
                address = _wait_for_address(child, deadline_s=deadline_s)
            except queue.Empty:
                raise RequestTimeoutError(
                    f"kubectl port-forward to service/{service} has not listened within {deadline_s:g} s.",
                    advice=f"See what it waits for: {' '.join(command)} -v=6",
                ) from None
            if address is None:
                _end(child)
                stderr.seek(0)
                raise translate(stderr.read(), command=command)
            yield address
        finally:
            _end(child)


def _wait_for_address(child: subprocess.Popen[str], *, deadline_s: float) -> str | None:
    """Give the address, or None where the child's output ended without one.

    Raises:
        queue.Empty: neither happened in time.

    """
    addresses: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert child.stdout is not None  # noqa: S101 - asked for above
    threading.Thread(target=_read, args=(child.stdout, addresses), daemon=True).start()
    return addresses.get(timeout=deadline_s)


def _read(output: IO[str], addresses: "queue.SimpleQueue[str | None]") -> None:
    """Report the first address, drain the rest, and report the end."""
    with output:
        for line in output:
            found = _FORWARDING.search(line)
            if found:
                addresses.put(f"{found[1]}:{found[2]}")
    addresses.put(None)


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()  # nothing happens where it has ended
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
