"""What a status is made of: a ClipModel's versions and pods, as one pass found them. The plan of a pass, without its manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipmodel_operator.models.api import ClipModelStatus, Endpoints, Profile
from clipmodel_operator.models.facts import Blocked, Loaded, RolloutFailure


@dataclass(frozen=True, slots=True)
class Subject:
    """What the status is of: the parts of a ClipModel that it repeats."""

    generation: int
    model_name: str | None
    name: str
    profile: Profile | None
    replicas: int
    endpoints: Endpoints | None
    previous: ClipModelStatus
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a version is not, or not yet, where it should be."""

    reason: str
    message: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version: on the volume (then it has a digest), on its way there (`progress` says how far), or in trouble."""

    number: int
    sha256: str | None = None
    size_bytes: int | None = None
    space_id: str | None = None
    is_begun: bool = False
    """A Job works on it."""
    progress: str = ""
    problem: Problem | None = None

    @property
    def is_synced(self) -> bool:
        return self.sha256 is not None


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod and what it said; `is_current`: it runs what is committed, by the current spec."""

    pod: Mapping[str, Any]
    is_current: bool = False
    loaded: Loaded | None = None


@dataclass(frozen=True, slots=True)
class ModelView:
    """All of it. Without versions, the pass ended before they could be looked at."""

    versions: tuple[VersionView, ...] = ()
    chosen: tuple[int, ...] = ()
    """What the policy chooses."""
    target: tuple[int, ...] = ()
    """What of it should serve now."""
    committed: tuple[int, ...] = ()
    pods: tuple[PodState, ...] = field(default=())
    pending: int = 0
    """Ready pods that do not run the target yet."""
    refused_pods: str | None = None
    """Why the Deployment may not make the pods that it should: a quota, say."""
    is_rolling: bool = False
    """The Deployment still has pods of an earlier template: another image, say, or other resources."""
    config_failure: RolloutFailure | None = None
    blocked: Blocked | None = None
