"""One version, as far as a pass knows it: how far its sync is, what the sync reported, and why it may not serve."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clipmodel_contract.report import Failure, VersionRecord


class SyncPhase(StrEnum):
    """How far it is."""

    DONE = "Done"
    NO_JOB = "NoJob"
    RUNNING = "Running"
    RETRYING = "Retrying"
    """A try failed in a way that waiting can mend; the Job, or a next one, tries again."""
    FAILED = "Failed"
    """A person must act."""
    START_OVER = "StartOver"
    """The Job ended and can tell nothing, or has waited out its failure: it is deleted, and the next pass makes it again."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the spec, or one that serves and is in the spec no longer."""

    number: int
    phase: SyncPhase
    progress: str = ""
    """What is happening, for people."""
    record: VersionRecord | None = None
    """There exactly when the phase is DONE."""
    failure: Failure | None = None
    """Why it is not, or not yet, where it should be."""
    retry_after_s: float | None = None
    """Seconds after which its failure is to be looked at again."""
    space_id: str | None = None
    """The embedding space that it is of; None before it is synced."""

    @property
    def is_synced(self) -> bool:
        return self.record is not None

    @property
    def is_usable(self) -> bool:
        """It may serve."""
        return self.phase is SyncPhase.DONE and self.failure is None

    @property
    def is_begun(self) -> bool:
        """A Job works on it, or has worked."""
        return self.phase in {SyncPhase.RUNNING, SyncPhase.RETRYING, SyncPhase.FAILED}
