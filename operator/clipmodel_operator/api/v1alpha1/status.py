"""The status of a ClipModel: what the operator tells, and all that it writes to the resource."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from clipmodel_operator.api.v1alpha1.schema import Api
from clipmodel_operator.api.v1alpha1.spec import Profile

#: As many as a spec may have. One that serves and is in the spec no longer comes beside them.
MAX_VERSIONS = 64


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
    endpoints: Endpoints | None = None
    """Where clients ask."""
    replicas: int = 0
    """Number of Triton pods."""
    ready_replicas: int = 0
    """Number of Triton pods that are ready and passed the golden check."""
    selector: Annotated[str | None, Field(max_length=512)] = None
    """Label selector of the Triton pods, for the scale subresource."""
