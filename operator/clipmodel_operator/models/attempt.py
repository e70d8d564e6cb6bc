"""What is remembered of bringing pods to a target: the open attempt, and the ones that failed, with when the next may begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from clipmodel_operator.models.revision import Revision


class Phase(StrEnum):
    """How far an attempt is."""

    PROVING = "Proving"
    """Under the candidate's name: on one pod, then on all others."""
    SWITCHING = "Switching"
    """Under the real name, on the pods that have proven it."""
    RETURNING = "Returning"
    """Pods go back to what is proven."""
    TRIAL = "Trial"
    """Pods start with it, since what is proven does not start."""
    REPLACING = "Replacing"
    """Pods are replaced by new ones that start with it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to bring pods to a revision. It is written before the first load that it makes."""

    target: Revision
    """Whole: pods may run it, whatever the spec asks for by now."""
    phase: Phase
    tries: int = 1
    pods: tuple[str, ...] = ()
    """The runs of pods that it is about (assessment.pods.run_of)."""
    slot: str = ""
    """Under Replacing, and while that is undone: the slot that its pods read."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """Under Trial: how often each pod, by its uid, had been restarted when it began."""

    @property
    def revision(self) -> str:
        return self.target.id


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A revision that pods did not take, on pods of one template."""

    revision: str
    template: str
    """Hash of the pod template, and the strategy where it is not InPlace: other memory, another image, or new pods may hold what these did not."""
    settings: str
    reason: str
    message: str
    is_final: bool
    """A person must act: waiting mends nothing."""
    tries: int
    not_before: datetime | None = None
    """When the next try may begin."""
    version: int | None = None
    """The version that it is due to, where one can be named."""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """What NAME-rollout says."""

    attempt: Attempt | None = None
    failures: tuple[FailedAttempt, ...] = ()
    retry: str = ""
    """The last value of the annotation clipmodel.dev/retry that was obeyed."""
