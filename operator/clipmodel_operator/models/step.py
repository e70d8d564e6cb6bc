"""What may be done with one Triton server at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clipmodel_operator.models.revision import Revision


class StepKind(StrEnum):
    """One load at most."""

    LOOK = "Look"
    """Ask what it runs, and compare its embeddings with the proven ones: by a revision's tolerance, where it runs its config."""
    PROVE = "Prove"
    """Load a whole revision under the candidate's name, compare, and unload it again."""
    VERIFY = "Verify"
    """Compare what it runs under the real name by a revision's tolerance; nothing is loaded."""
    SWITCH = "Switch"
    """Load under the real name, and compare once more; what differs is unloaded at once."""
    WITHDRAW = "Withdraw"
    """Unload the real name: the pod leaves the Service."""
    CLEAR = "Clear"
    """Unload what is left under the candidate's name."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step on one server."""

    kind: StepKind
    revision: Revision | None = None
    alone: tuple[int, ...] = ()
    """Versions to prove alone first: Triton 2.51 may crash where a load ends a good version, since another is broken, before that one has answered once."""

    @property
    def name(self) -> tuple[str, str]:
        """Tell steps of a pod apart. A look is a look, whatever it is for."""
        is_of_one = self.revision is not None and self.kind is not StepKind.LOOK
        return self.kind.value, self.revision.id if self.revision is not None and is_of_one else ""
