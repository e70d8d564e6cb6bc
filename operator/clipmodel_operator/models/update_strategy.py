"""How the pods of a Deployment are replaced by those of a new template: decided in planning, rendered, and told as an event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UpdateStrategy:
    """One pod at a time: with a surge pod a new one is ready before an old one goes, without one an old one goes first."""

    has_surge: bool
    why: str
    """The reason, as the end of a sentence."""
    refused_since: datetime | None = None
    """When a surge pod was first seen to be refused for want of what an old pod holds."""
    recheck_s: float | None = None
    """Seconds after which a surge pod that has no node will have waited long enough. Nothing tells of that moment."""

    @property
    def max_surge(self) -> int:
        return 1 if self.has_surge else 0

    @property
    def max_unavailable(self) -> int:
        return 0 if self.has_surge else 1
