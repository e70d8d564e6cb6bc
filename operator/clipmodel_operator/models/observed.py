"""What is observed of a ClipModel, frozen: its children, and what its pods said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from clipmodel_operator.models import names

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """A ClipModel's children, as they were read."""

    claim: Object | None = None
    config_map: Object | None = None
    """The ledger, and the files of the first slot."""
    second_slot: Object | None = None
    rollout_map: Object | None = None
    deployment: Object | None = None
    service: Object | None = None
    jobs: tuple[Object, ...] = ()
    sync_pods: tuple[Object, ...] = ()
    server_pods: tuple[Object, ...] = ()

    def with_pods(self, pods: Iterable[Object]) -> Observed:
        """Add the ClipModel's pods, each where it belongs by its label."""

        def of(component: str) -> tuple[Object, ...]:
            return tuple(
                p for p in found if (p["metadata"].get("labels") or {}).get(names.LABEL_COMPONENT) == component
            )

        found = list(pods)
        return replace(self, sync_pods=of(names.COMPONENT_SYNC), server_pods=of(names.COMPONENT_SERVER))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server said that it runs, and whether it gave the proven embeddings of it."""

    config_id: str
    """Empty where the model is not loaded."""
    versions: tuple[int, ...]
    difference: str | None
    """How its embeddings differ from the proven ones, or why they cannot be compared; None where they are the proven ones."""
    is_compared: bool = True
    """There was something to compare with."""
    config: Mapping[str, Any] | None = field(default=None, compare=False)
    """All that it says of its config, where that is of no revision that is known."""

    @property
    def is_wrong(self) -> bool:
        """It embeds otherwise than was proven."""
        return self.is_compared and self.difference is not None


class Outcome(StrEnum):
    """How a step on a server ended."""

    DONE = "Done"
    REFUSED = "Refused"
    """Triton said no."""
    DIFFERS = "Differs"
    """It embeds otherwise than was proven at sync."""
    LOST = "Lost"
    """Nobody answered: it may have been done, or may be done yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of trying to bring a revision to a server."""

    revision: str
    outcome: Outcome
    message: str = ""
    version: int | None = None
    """The version that it is due to, where one can be named."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A Triton pod; `loaded` is None while it could not be asked."""

    pod: Object
    profile: str
    """The profile whose config it reads at start."""
    loaded: Loaded | None = None
    before: Loaded | None = None
    """What it gave the proven embeddings of until a load began that is under way, or one beside it failed and it is asked anew: most likely it serves that."""
    is_current: bool = False
    """It runs what is committed, by the current spec."""
    is_asked: bool = False
    """It has been asked what it runs, whatever came of that, since a step may have changed it."""
    is_busy: bool = False
    """A step is under way on it."""
    is_unsure: bool = False
    """A load under the real name may be under way whose answer is lost: only the answer to a later one says what it runs."""
    has_candidate: bool = False
    """Something is loaded under the candidate's name, or may be."""
    proved: frozenset[str] = frozenset()
    """What this run of it has proven (Revision.proof_of)."""
    verdict: Verdict | None = None
    """What came of the last try on it, until that was taken note of."""
    waits: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds until a step that failed on it is made again, by the step's name (models.step)."""
    tries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How often in a row a step has failed on it."""
