"""What was written in a namespace, and by whom: out of the API server's own audit log, which counts retries and refusals too."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bench.api import USER_AGENT
from bench.errors import BenchError

_LOG = "/var/log/kubernetes/audit.log"
_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def _in_node(node: str, *command: str) -> str:
    done = subprocess.run(["docker", "exec", node, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{node} keeps no audit log ({done.stderr.strip()[-200:]}): python -m bench down, then again")
    return done.stdout


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The log of a kind node, from a moment on."""

    node: str
    start: int

    @classmethod
    def from_now(cls, node: str) -> AuditLog:
        return cls(node, int(_in_node(node, "stat", "-c", "%s", _LOG)))

    def operator_writes(self, namespace: str) -> Counter[str]:
        return count_writes(_in_node(self.node, "tail", "-c", f"+{self.start + 1}", _LOG).splitlines(), namespace)


def count_writes(lines: Iterable[str], namespace: str) -> Counter[str]:
    """Count writes in a namespace that neither the benchmark nor a part of Kubernetes sent, as `verb resource[/subresource]`; refused ones by their code."""
    counts: Counter[str] = Counter()
    for line in lines:
        if not line.endswith("}"):
            continue  # the last line may be half written
        entry = json.loads(line)
        target = entry.get("objectRef") or {}
        if entry["verb"] not in _WRITES or target.get("namespace") != namespace:
            continue
        if entry.get("userAgent", "").startswith(USER_AGENT) or entry["user"]["username"].startswith("system:"):
            continue
        what = "/".join(part for part in (target.get("resource", ""), target.get("subresource", "")) if part)
        code = (entry.get("responseStatus") or {}).get("code", 0)
        counts[f"{entry['verb']} {what}" + (f" ({code})" if code >= 400 else "")] += 1
    return counts
