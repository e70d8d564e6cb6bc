"""The API server's audit log, as the project's own kind cluster keeps it: who wrote what, and when."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import datetime

from support.cluster import OPERATOR

_OPERATORS = "system:serviceaccount:clipmodel-system"
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_LOG = "/var/log/kubernetes/audit.log"


@dataclass(frozen=True, slots=True)
class Write:
    """One write that reached the API server."""

    at: datetime
    user: str
    verb: str
    resource: str
    subresource: str
    name: str
    code: int


def operator_writes(node: str, *, since: datetime | None = None) -> list[Write]:
    """List what operators wrote, whichever of them, oldest first. Their lines are picked out on the node: the whole log is a hundred times as long."""
    done = subprocess.run(
        ["docker", "exec", node, "grep", "--text", "--fixed-strings", f'"username":"{_OPERATORS}', _LOG],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr  # 1: not one line
    writes = []
    for line in done.stdout.splitlines():
        if not line.endswith("}"):
            continue  # the last line may be half written
        entry = json.loads(line)
        reference = entry.get("objectRef") or {}
        if entry["verb"] in _WRITES and entry["user"]["username"].endswith(f":{OPERATOR}"):
            writes.append(
                Write(
                    at=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
                    user=entry["user"]["username"],
                    verb=entry["verb"],
                    resource=reference.get("resource", ""),
                    subresource=reference.get("subresource", ""),
                    name=f"{reference.get('namespace', '')}/{reference.get('name', '')}",
                    code=(entry.get("responseStatus") or {}).get("code", 0),
                )
            )
    return sorted((w for w in writes if since is None or w.at >= since), key=lambda w: w.at)
