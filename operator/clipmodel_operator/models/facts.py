"""What one pass knows, frozen: gathered at its start, extended by what it did, and handed to the assessment of status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
class GoldenResult:
    """What the golden check found on one pod; `difference` is None where the embeddings are the proven ones."""

    difference: str | None


@dataclass(frozen=True, slots=True)
class PodCheck:
    """A pod and whether it has proven itself: `result` is None while the check has not been possible."""

    pod: Object
    is_current: bool
    """It started with the config that is committed."""
    result: GoldenResult | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why the pass could not go on."""

    reason: str
    message: str
    is_stalled: bool
    """Nothing changes until a person acts."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """All that a status is made of, besides the ClipModel itself."""

    observed: Observed
    checks: tuple[PodCheck, ...] = field(default=())
    blocked: Blocked | None = None
