"""kubectl, bound to the demo's cluster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import command

# Not kubectl's default: two appliers under one name would take each other's fields away.
FIELD_MANAGER = "clipmodel-demo"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Which cluster."""

    kubeconfig: Path
    context: str

    def command(self, *arguments: str) -> list[str]:
        """Build the command line."""
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), "--context", self.context, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout_s: float = 300) -> str:
        """Run it, give its output."""
        return command.run(self.command(*arguments), stdin=stdin, timeout_s=timeout_s)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Run `kubectl get … -o json`."""
        answer: dict[str, Any] = json.loads(self.run("get", *arguments, "--output", "json", timeout_s=30))
        return answer

    def apply(self, objects: Sequence[dict[str, Any]]) -> list[str]:
        """Apply objects server-side; give kubectl's lines about them."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        lines = self.run("apply", "--server-side", "--field-manager", FIELD_MANAGER, "--filename", "-", stdin=document)
        return lines.splitlines()

    def wait_for_rollout(self, namespace: str, deployment: str, *, timeout_s: int) -> None:
        """Wait until a Deployment runs what it should."""
        rollout = ("rollout", "status", f"deployment/{deployment}", "--namespace", namespace)
        self.run(*rollout, f"--timeout={timeout_s}s", timeout_s=timeout_s + 30)
