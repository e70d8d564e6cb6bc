"""Takes controllers and scheduler away from the bench's own kind cluster while the stand-in plays them, and brings them back.

They would make the pods too, and at 20 requests a second (their default) it is them that would be measured.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.api import Api, until
from bench.errors import BenchError

_MANIFESTS, _HELD = "/etc/kubernetes/manifests", "/etc/kubernetes/held-by-bench"
_COMPONENTS = ("kube-controller-manager", "kube-scheduler")
_DEADLINE_S = 90.0


def _in_node(node: str, script: str) -> str:
    done = subprocess.run(["docker", "exec", node, "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"docker exec {node}: {done.stderr.strip()[-400:]}")
    return done.stdout


def bring_back(node: str) -> None:
    """Put the static pods' manifests back where kubelet looks; also what a killed run left."""
    _in_node(node, f"mkdir -p {_HELD}; for f in {_HELD}/*.yaml; do [ ! -e $f ] || mv $f {_MANIFESTS}/; done")


@asynccontextmanager
async def without_controllers(api: Api, node: str) -> AsyncIterator[None]:
    """Run the block without controller manager and scheduler."""
    names = " ".join(f"{_MANIFESTS}/{component}.yaml" for component in _COMPONENTS)
    _in_node(node, f"mkdir -p {_HELD} && mv {names} {_HELD}/")
    try:

        async def are_gone() -> bool:
            pods = [
                await api.get(f"/api/v1/namespaces/kube-system/pods/{component}-{node}") for component in _COMPONENTS
            ]
            return not any(pods)

        await until(are_gone, "controller manager and scheduler have ended", deadline_s=_DEADLINE_S, poll_s=0.5)
        yield
    finally:
        bring_back(node)
