"""Calls kubectl, and says what its complaints mean.

The user's own kubectl is used, and not a Kubernetes library: it knows the user's contexts, credential plugins
and proxies, and its errors are those that the user finds explained elsewhere.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipmodel_client.errors import (
    ClientError,
    MissingProgramError,
    NotFoundError,
    RejectedError,
    RequestTimeoutError,
    UnreachableError,
)

TIMEOUT_S = 30.0

_PREFIX = re.compile(r"^(Error from server \(\w+\)|error|Error): ")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster and namespace; None means what kubectl would take."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """Build the kubectl command line, as a user could type it."""
        options = [
            *(["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []),
            *(["--context", self.context] if self.context else []),
            *(["--namespace", self.namespace] if self.namespace else []),
        ]
        return ["kubectl", *options, *arguments]


def get(cluster: Cluster, *arguments: str) -> str:
    """Run a short kubectl command and give its output.

    Raises:
        ClientError: kubectl is missing, failed, or took too long.

    """
    command = cluster.command(*arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise missing() from error
    except subprocess.TimeoutExpired as error:
        raise RequestTimeoutError(
            f"kubectl took longer than {TIMEOUT_S:g} s.",
            advice=f"See what it waits for: {' '.join(command)} -v=6",
        ) from error
    if done.returncode != 0:
        raise translate(done.stderr, command=command)
    return done.stdout


def missing() -> MissingProgramError:
    """Say that kubectl is not in PATH."""
    return MissingProgramError(
        "kubectl was not found.",
        advice="Put kubectl into PATH, or pass --url HOST:PORT of a Triton server instead of --clip.",
    )


def translate(stderr: str, *, command: Sequence[str]) -> ClientError:
    """Find out from kubectl's words what the user can do."""
    line = _last_line(stderr)
    text = stderr.lower()
    if "doesn't have a resource type" in text:
        return NotFoundError(
            "The cluster does not know the kind ClipModel.",
            advice="Is it the right cluster (--context)? If so, install the operator there first.",
        )
    if "notfound" in text or "not found" in text:
        return NotFoundError(f"{line}.", advice="List what there is: kubectl get clipmodels --all-namespaces")
    if "does not exist" in text:  # context, or kubeconfig's cluster
        return NotFoundError(f"{line}.", advice="List the contexts: kubectl config get-contexts")
    if "forbidden" in text:
        return RejectedError(
            f"{line}.",
            advice="Ask for a role that may get clipmodels and services and create pods/portforward there.",
        )
    unreachable = (
        "refused",
        "no such host",
        "unable to connect",
        "i/o timeout",
        "was not found in the",
        "eof",
    )
    if any(word in text for word in unreachable):
        return UnreachableError(f"{line}.", advice="Check that the cluster runs, and --context: kubectl cluster-info")
    return RejectedError(f"kubectl failed: {line}.", advice=f"Run it by hand to see more: {' '.join(command)}")


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return _PREFIX.sub("", lines[-1]).rstrip(".") if lines else "no message"
