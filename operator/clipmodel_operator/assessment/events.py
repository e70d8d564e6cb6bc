"""Which events tell the change from one status to the next, or from one Deployment to the next. An event is told once, when something became so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_operator.api.v1alpha1.status import ClipModelStatus, Condition, VersionState
from clipmodel_operator.assessment.template import is_rolling
from clipmodel_operator.models import reasons
from clipmodel_operator.models.event import Event
from clipmodel_operator.models.update_strategy import UpdateStrategy

#: The reason of an event that no condition tells: how pods are replaced, and why so.
ROLLING_UPDATE = "RollingUpdate"
# The API server's own limit is 1,024 bytes; a scheduler's message lists a reason per group of nodes.
_MESSAGE_LENGTH = 1000


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


def plan_rolling_event(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], strategy: UpdateStrategy
) -> Event | None:
    """Tell how pods are replaced, when it begins and when a roll that is under way goes on in another way. Both Deployments as the API server has them."""
    replicas = int(after["spec"].get("replicas", 1))
    if before is None or replicas == 0:
        return None
    is_begun = before["spec"]["template"] != after["spec"]["template"]
    is_changed = is_rolling(after) and before["spec"].get("strategy") != after["spec"].get("strategy")
    if not is_begun and not is_changed:
        return None
    order = (
        "each new pod is ready before an old one goes"
        if strategy.has_surge
        else "an old pod goes before a new one starts"
    )
    how = f"maxSurge {strategy.max_surge}, maxUnavailable {strategy.max_unavailable}"
    message = f"Pods are replaced one at a time, {order} ({how}): {strategy.why}."
    is_gap = replicas == 1 and not strategy.has_surge
    if is_gap:
        message = f"{message[: _MESSAGE_LENGTH - 60]} With one replica, that is a gap in service."
    return Event(is_warning=is_gap, reason=ROLLING_UPDATE, message=message[:_MESSAGE_LENGTH])
