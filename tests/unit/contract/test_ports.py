"""Triton's ports are written down twice: in code, and on the page that users configure their clients and network policies by."""

from __future__ import annotations

import re
from pathlib import Path

from clipmodel_contract import ports

ROOT = Path(__file__).parents[3]


def test_the_ports_are_those_of_the_pages() -> None:
    spec = (ROOT / "docs/spec/clipmodel.md").read_text("utf-8")
    found = re.search(r"The Service `NAME`: ports (\d+) \(HTTP\), (\d+) \(gRPC\) and (\d+) \(metrics\)", spec)
    assert found is not None, "the page says which ports the Service has"
    assert [int(port) for port in found.groups()] == [ports.HTTP_PORT, ports.GRPC_PORT, ports.METRICS_PORT]
    operations = (ROOT / "docs/operations.md").read_text("utf-8")
    clients = re.search(r"^\| clients \| Service `NAME` \| (\d+) HTTP, (\d+) gRPC \|", operations, re.MULTILINE)
    assert clients is not None, "the page says what a network policy must let through"
    assert [int(port) for port in clients.groups()] == [ports.HTTP_PORT, ports.GRPC_PORT]


def test_the_ports_are_tritons_own_defaults() -> None:
    """8000, 8001 and 8002 by `tritonserver --help`: what every guide, client and dashboard of Triton's takes for granted."""
    assert (ports.HTTP_PORT, ports.GRPC_PORT, ports.METRICS_PORT) == (8000, 8001, 8002)
