"""What a status is made of: a ClipModel's versions and pods, as one pass found them. The plan of a pass, without its manifests."""

from __future__ import annotations

from dataclasses import dataclass, field

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus, Endpoints, PodStatus, RolloutStatus
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.version import Version


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
class ModelView:
    """All of it. Without versions, the pass ended before they could be looked at."""

    versions: tuple[Version, ...] = ()
    chosen: tuple[int, ...] = ()
    """What the policy chooses."""
    target: tuple[int, ...] = ()
    """What of it should serve now."""
    committed: tuple[int, ...] = ()
    pods: tuple[PodView, ...] = field(default=())
    pending: int = 0
    """Ready pods that do not run what they should yet."""
    refused_pods: str | None = None
    """Why the Deployment may not make the pods that it should: a quota, say."""
    is_rolling: bool = False
    """The Deployment still has pods of an earlier template: another image, say, or other resources."""
    config_failure: Failure | None = None
    """Why pods do not take the target."""
    blocked: Failure | None = None
    rollout: RolloutStatus | None = None
    pod_list: tuple[PodStatus, ...] = ()
