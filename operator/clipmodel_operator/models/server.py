"""One Triton server, as far as asking it goes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Server:
    """A pod's address and the key to its control endpoints."""

    address: str
    control_key: str = field(repr=False)
