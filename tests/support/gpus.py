"""GPUs that are not there: an extended resource in the status of the cluster's node, which scheduler and kubelet take for real.

The kubelet keeps what it does not know in `capacity`, and copies it to `allocatable`. What a pod does with its GPU ends there: Triton finds none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support.api import ApiError
from support.cluster import Kubectl, until

GPU = "nvidia.com/gpu"
_PARTS = ("capacity", "allocatable")
_POINTER = GPU.replace("/", "~1")


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the one node of the cluster offers."""

    kubectl: Kubectl
    node: str

    def offered(self) -> tuple[str | None, ...]:
        """Give capacity and allocatable, as the node has them."""
        node = self.kubectl.the("node", self.node)
        return tuple(node["status"][part].get(GPU) for part in _PARTS)

    def offer(self, count: int) -> None:
        """Advertise so many, in use or not; 0 is a node whose GPUs have all failed."""
        self._patch([{"op": "add", "path": f"/status/{part}/{_POINTER}", "value": str(count)} for part in _PARTS])
        until(lambda: set(self.offered()) == {str(count)} or None, f"the node offers {count} GPUs", seen=self.offered)

    def withdraw(self) -> None:
        """Put the node back to having none, whatever it has now."""

        def is_gone() -> bool | None:
            left = [part for part, found in zip(_PARTS, self.offered(), strict=True) if found is not None]
            try:
                self._patch([{"op": "remove", "path": f"/status/{part}/{_POINTER}"} for part in left])
            except ApiError:  # the kubelet was quicker with one of them
                return None
            return not left or None

        until(is_gone, "the node offers no GPU", seen=self.offered)

    def _patch(self, changes: list[dict[str, str]]) -> None:
        if changes:
            self.kubectl.patch("node", self.node, changes, subresource="status", how="json")


@contextmanager
def fake_gpus(kubectl: Kubectl) -> Iterator[Gpus]:
    """Lend the node's GPUs to a block. There are none at its begin, and none after it, however it ends."""
    [node] = kubectl.list("nodes")
    gpus = Gpus(kubectl, node["metadata"]["name"])
    gpus.withdraw()
    try:
        yield gpus
    finally:
        gpus.withdraw()
