"""The status of a ClipModel: what the operator tells, and all that it writes to the resource."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from clipmodel_operator.api.v1alpha1.schema import Api
from clipmodel_operator.api.v1alpha1.spec import Profile

#: As many as a spec may have. One that serves and is in the spec no longer comes beside them.
MAX_VERSIONS = 64
#: How many pods status names: it stays small, and `kubectl get pods` lists them all.
MAX_PODS = 32


class VersionState(StrEnum):
    """Where a version is in its life."""

    PENDING = "Pending"
    SYNCING = "Syncing"
    SYNCED = "Synced"
    PROVING = "Proving"
    SWITCHING = "Switching"
    SERVING = "Serving"
    RETIRED = "Retired"
    FAILED = "Failed"


class VersionStatus(Api):
    """What is known of one version."""

    version: int
    """Version number."""
    state: VersionState
    """Pending (nothing began), Syncing (a Job fetches and proves it), Synced (on the volume), Proving (pods embed with it under a name that no client
    asks for), Switching (some pods serve it), Serving (clients get it), Retired (on the volume, the policy does not choose it), Failed (message says why)."""
    sha256: Annotated[str | None, Field(max_length=64)] = None
    """SHA-256 of the bytes on the volume."""
    bytes: int | None = None
    """Size of the ONNX file in bytes."""
    embedding_space_id: Annotated[str | None, Field(max_length=64)] = None
    """Digest of the embeddings of the golden images: vectors of equal ids can be compared with each other."""
    message: Annotated[str | None, Field(max_length=256)] = None
    """What is happening, or what to do."""


class Endpoints(Api):
    """Where clients ask."""

    http: Annotated[str, Field(max_length=253)]
    """HOST:PORT of Triton's HTTP endpoint (KServe v2 protocol)."""
    grpc: Annotated[str, Field(max_length=253)]
    """HOST:PORT of Triton's gRPC endpoint (KServe v2 protocol)."""
    metrics: Annotated[str, Field(max_length=253)]
    """HOST:PORT of Triton's Prometheus metrics."""


class Condition(Api):
    """One aspect of the state, as the Kubernetes API conventions have it."""

    type: Annotated[str, Field(max_length=64)]
    """Ready, Reconciling, Stalled, Paused, Synced, Verified or Available."""
    status: Annotated[str, Field(max_length=16, json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """True, False or Unknown."""
    reason: Annotated[str, Field(max_length=64)]
    """One word for programs; docs/spec/clipmodel.md explains each."""
    message: Annotated[str, Field(max_length=256)]
    """For people: what is, and what to do next."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the status last changed."""
    observed_generation: int
    """The generation that this was said of."""


class RolloutPhase(StrEnum):
    """What an attempt to bring pods to the target is doing."""

    PROVING = "Proving"
    SWITCHING = "Switching"
    RETURNING = "Returning"
    TRIAL = "Trial"
    REPLACING = "Replacing"
    WAITING = "Waiting"


RevisionId = Annotated[str, Field(min_length=1, max_length=64)]


class RolloutStatus(Api):
    """The revisions (all that decides what servers answer), and the attempt to bring pods from one to the other."""

    proven_revision: RevisionId | None = None
    """The revision that pods have proven last: what clients get, and what pods are brought back to. None before the first pod was proven."""
    target_revision: RevisionId | None = None
    """The revision that the spec asks for, as far as its versions are synced. Equal to provenRevision at rest."""
    phase: RolloutPhase | None = None
    """Proving (pods embed with the target under a name that no client asks for), Switching (pods load it under the real name), Returning (pods go back to the proven
    revision), Trial (the proven one does not start: new pods start with the target), Replacing (new pods start with the target), Waiting (the target failed;
    it is tried again at notBefore, or not at all where that is not set). Not set at rest."""
    tries: Annotated[int | None, Field(ge=0, le=1_000_000)] = None
    """How often the target has been tried, this attempt included. Not set at rest."""
    not_before: Annotated[str | None, Field(max_length=32, json_schema_extra={"format": "date-time"})] = None
    """When the target is tried again at the earliest. Any new value of the annotation clipmodel.dev/retry on the ClipModel has it tried at once."""
    reason: Annotated[str | None, Field(max_length=256)] = None
    """Why the last try of the target failed."""


class PodStatus(Api):
    """What is known of one Triton pod."""

    name: Annotated[str, Field(max_length=253)]
    """The pod's name."""
    revision: RevisionId | None = None
    """The revision that it runs; not set where that is not known: it starts, does not answer, or an answer to a load was lost."""
    ready: bool
    """Whether it is ready: clients are sent to it."""


class ClipModelStatus(Api):
    """What is."""

    observed_generation: int = -1
    """The generation of the spec that this status is of; -1 before the operator has seen the resource."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = Field(default_factory=list)
    """Ready, and what is behind it."""
    profile: Profile | None = None
    """The profile that is rendered."""
    model_name: Annotated[str | None, Field(max_length=63)] = None
    """The name under which Triton serves the model."""
    versions: Annotated[
        list[VersionStatus],
        Field(
            max_length=MAX_VERSIONS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]},
        ),
    ] = Field(default_factory=list)
    """Each version and its state."""
    serving_versions: Annotated[
        list[int], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)
    """The versions that clients get, proven on every ready pod."""
    rollout: RolloutStatus | None = None
    """Which revision serves, which one the spec asks for, and how far pods are on the way. Not set before the first sync."""
    pods: Annotated[
        list[PodStatus],
        Field(
            max_length=MAX_PODS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """The Triton pods by name, at most 32 of them, and the revision that each runs."""
    endpoints: Endpoints | None = None
    """Where clients ask."""
    replicas: int = 0
    """Number of Triton pods."""
    ready_replicas: int = 0
    """Number of Triton pods that are ready and passed the golden check."""
    selector: Annotated[str | None, Field(max_length=512)] = None
    """Label selector of the Triton pods, for the scale subresource."""
