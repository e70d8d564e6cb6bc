"""An event, before it is rendered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """What `kubectl describe` shows."""

    is_warning: bool
    reason: str
    message: str
