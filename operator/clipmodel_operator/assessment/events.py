"""Which events tell the change from one status to the next. An event is told once, when something became so."""

from __future__ import annotations

from dataclasses import dataclass

from clipmodel_operator.models import reasons
from clipmodel_operator.models.api import ClipModelStatus, Condition, VersionState


@dataclass(frozen=True, slots=True)
class Event:
    """What `kubectl describe` shows."""

    is_warning: bool
    reason: str
    message: str


def _conditions(status: ClipModelStatus) -> dict[str, Condition]:
    return {c.type: c for c in status.conditions}


def plan_events(previous: ClipModelStatus, current: ClipModelStatus) -> tuple[Event, ...]:
    """List the events of a change of status."""
    before, after = _conditions(previous), _conditions(current)
    events: list[Event] = []

    def is_news(kind: str) -> bool:
        old, new = before.get(kind), after.get(kind)
        return new is not None and (old is None or (old.status, old.reason) != (new.status, new.reason))

    synced = after.get(reasons.SYNCED)
    if synced and is_news(reasons.SYNCED):
        is_under_way = any(v.state is VersionState.SYNCING for v in current.versions)
        if synced.status != "Unknown" or is_under_way:
            events.append(Event(is_warning=synced.status == "False", reason=synced.reason, message=synced.message))
    ready, told = after.get(reasons.READY), {e.reason for e in events}
    if ready and is_news(reasons.READY) and ready.reason not in told:
        if ready.status == "True":
            events.append(Event(is_warning=False, reason=ready.reason, message=ready.message))
        elif ready.status == "False":
            events.append(
                Event(is_warning=ready.reason != reasons.SCALED_TO_ZERO, reason=ready.reason, message=ready.message)
            )
    return tuple(events)
