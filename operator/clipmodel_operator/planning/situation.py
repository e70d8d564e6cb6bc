"""What a rollout is planned from, and the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clipmodel_operator.models.attempt import Phase, RolloutRecord
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.step import Step

PodStep = tuple[PodView, Step]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rollout is planned from."""

    ledger: Ledger
    record: RolloutRecord
    target: Revision | None
    """What the spec asks for, as far as its versions can serve; None where none can."""
    views: tuple[PodView, ...]
    template: str
    """What failures are of: the hash of the pod template that the spec asks for, of whichever slot, and the strategy."""
    is_settled: bool
    """All pods are of that template."""
    is_rolling: bool
    """Pods are being replaced by those of the Deployment's template."""
    replaces: bool
    """The target goes by new pods."""
    recover: Callable[[PodView], Revision | None]
    """Gives the revision of what a pod runs and has proven, where it is of none that is known."""
    one_copy: str
    """What to do about memory for one copy, and what is known of it, from the middle of a sentence on; for messages."""
    is_paused: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What is to be written, and what is to be done on pods afterwards."""

    ledger: Ledger
    record: RolloutRecord
    target: Revision | None
    steps: tuple[PodStep, ...] = ()
    recheck_s: float | None = None
    """Seconds until something may be tried again of which no event tells."""

    @property
    def slot(self) -> str:
        """Which files starting pods read."""
        attempt = self.record.attempt
        return attempt.slot if attempt is not None and attempt.phase is Phase.REPLACING else self.ledger.slot

    @property
    def loadable(self) -> frozenset[str]:
        """Name the revisions that a step may load now, under whichever name."""
        attempt, goal = self.record.attempt, self.ledger.serving
        is_open = attempt is not None and attempt.phase is not Phase.RETURNING
        found = {goal.id} if goal is not None else set()
        return frozenset(found | ({attempt.revision} if attempt is not None and is_open else set()))

    def starts(self, slot: str) -> Revision | None:
        """Give what pods of a slot start with; None where that slot does not count."""
        attempt = self.record.attempt
        if attempt is not None and attempt.phase is Phase.REPLACING and attempt.slot == slot:
            return attempt.target
        return self.ledger.boot if self.ledger.slot == slot else None

    @property
    def phase(self) -> Phase | None:
        return self.record.attempt.phase if self.record.attempt is not None else None
