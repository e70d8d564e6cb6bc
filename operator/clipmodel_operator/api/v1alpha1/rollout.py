"""The part of the API that says how a change of what servers answer reaches them."""

from __future__ import annotations

from enum import StrEnum

from clipmodel_operator.api.v1alpha1.schema import Api


class RolloutStrategy(StrEnum):
    """How servers get a new revision: all that decides what they answer."""

    IN_PLACE = "InPlace"
    REPLACE = "Replace"


class Rollout(Api):
    """How a change of versions, batching, instances or optimization reaches the servers."""

    strategy: RolloutStrategy = RolloutStrategy.IN_PLACE
    """InPlace: running servers prove the change beside what serves, and switch; no pod restarts, and for a moment each server holds two copies of the model. Replace: new
    pods start for every change of what servers answer, for memory that holds one copy; one pod at a time, with one replica and no room for another pod a gap in service."""
