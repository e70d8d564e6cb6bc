"""Why something did not work, in one form: of a sync, of a rollout, of a pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason for programs, and a message for people."""

    reason: str
    message: str
    is_final: bool
    """Nothing changes until a person acts."""
    version: int | None = None
    """The version that it is of; None where it is of all of them."""
