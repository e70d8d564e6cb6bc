"""What is observed of a ClipModel, frozen: its children, and what its pods said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clipmodel_operator.models import names

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """A ClipModel's children, as they were read."""

    claim: Object | None = None
    config_map: Object | None = None
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
    versions: tuple[int, ...]
    difference: str | None
    """How its embeddings differ from the proven ones; None where they do not."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A Triton pod; `loaded` is None while it could not be asked."""

    pod: Object
    profile: str
    """The profile whose config it reads at start."""
    loaded: Loaded | None = None
    is_current: bool = False
    """It runs what is committed, by the current spec."""
