"""What one pass knows, frozen: gathered at its start, extended by what it did, and handed to the assessment of status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """A ClipModel's children, as the cache has them."""

    claim: Object | None = None
    config_map: Object | None = None
    deployment: Object | None = None
    service: Object | None = None
    jobs: tuple[Object, ...] = ()
    sync_pods: tuple[Object, ...] = ()
    server_pods: tuple[Object, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why the pass could not go on."""

    reason: str
    message: str
    is_stalled: bool
    """Nothing changes until a person acts."""


@dataclass(frozen=True, slots=True)
class RolloutFailure:
    """Why servers did not take a config: of one version, or (None) of the config as a whole."""

    version: int | None
    reason: str
    message: str
