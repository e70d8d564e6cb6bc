"""When is a ClipModel looked at again without an event? One function of how the pass ended; the earliest moment wins."""

from __future__ import annotations

from dataclasses import dataclass

from clipmodel_operator.models.errors import RetryError, StalledError

#: A Retry-After that is longer is cut: for so long nothing is told of the ClipModel.
LONGEST_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class PassOutcome:
    """How a pass ended, as far as the next one depends on it."""

    errors: tuple[Exception, ...] = ()
    """What parts of the pass ended with."""
    has_changed: bool = False
    """It deleted Jobs, or what servers run was changed or refused: what follows can be done at once."""
    sync_retries_s: tuple[float, ...] = ()
    """Seconds after which failed syncs have waited long enough."""
    surge_recheck_s: float | None = None
    """Seconds after which a surge pod that has no node has waited long enough."""
    rollout_recheck_s: float | None = None
    """Seconds until a step on a pod, or an attempt, may be tried again."""

    @property
    def has_world_failed(self) -> bool:
        """Somebody did not answer, or we have a bug."""
        return any(not isinstance(e, StalledError) for e in self.errors)

    @property
    def has_failed(self) -> bool:
        """The world failed, or something is to be mended of which no event would tell. What an edit of the spec mends is no failure of the pass."""
        return self.has_world_failed or any(isinstance(e, StalledError) and e.look_again for e in self.errors)


def retry_after_s(outcome: PassOutcome) -> float:
    """Give the seconds within which the API server does not want to be asked again; 0 where it did not say."""
    asked = [e.retry_after_s or 0.0 for e in outcome.errors if isinstance(e, RetryError)]
    return min(max(asked, default=0.0), LONGEST_RETRY_AFTER_S)


def plan_requeue(outcome: PassOutcome, *, backoff_s: float) -> float | None:
    """Give the seconds until the next pass; None where an event, or the sweep, is enough.

    `backoff_s` counts only for a pass that failed. Where the world failed, the pass does not go on at once, nor at the pace of a pod's recheck: that
    would make the backoff void. Where a rule of the cluster denies an object, the rest of the pass was made, and pods are tried again. A Retry-After
    of the API server is a lower bound of all.
    """
    deadlines = [*outcome.sync_retries_s]
    if outcome.surge_recheck_s is not None:
        deadlines.append(outcome.surge_recheck_s)
    if outcome.rollout_recheck_s is not None and not outcome.has_world_failed:
        deadlines.append(outcome.rollout_recheck_s)
    if outcome.has_failed:
        return max(min([backoff_s, *deadlines]), retry_after_s(outcome))
    if outcome.has_changed:
        deadlines.append(0.0)
    return min(deadlines, default=None)
