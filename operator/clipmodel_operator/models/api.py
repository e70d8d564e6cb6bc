"""The ClipModel API, v1alpha1: the one source of the CRD, of `kubectl explain`, and of what the operator reads.

Descriptions are for users. The CRD rejects unknown fields under strict validation; these models ignore them, so that an older operator
survives a newer CRD during an upgrade.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from clipmodel_operator.models.names import CANDIDATE_SUFFIX
from clipmodel_operator.models.quantity import DURATION_PATTERN, QUANTITY_PATTERN, parse_duration_us

DEFAULT_PREFERRED_BATCH_SIZES = (4, 8, 16, 32)

Quantity = Annotated[
    int | str,
    WithJsonSchema({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": QUANTITY_PATTERN,
    }),
]  # fmt: skip


def _rules(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class _Api(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )


class Profile(StrEnum):
    """Where the model runs."""

    CPU = "cpu"
    GPU = "gpu"


class ReclaimPolicy(StrEnum):
    """What becomes of the volume when the ClipModel is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Source(_Api):
    """Where a version's ONNX file comes from, and which bytes it must be."""

    uri: Annotated[
        str, Field(max_length=1024, pattern=r"^(https?://[^/\s]+/\S+|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^\s]+)$")
    ]
    """Where the ONNX file is: https://HOST/PATH, http://HOST/PATH, or pvc://CLAIM/PATH for a file on a PersistentVolumeClaim of the same namespace."""

    sha256: Annotated[str, Field(pattern=r"^[a-f0-9]{64}$", max_length=64)]
    """SHA-256 of the ONNX file, 64 lower-case hex digits (`sha256sum model.onnx`). A file with another digest never serves."""


class ModelVersion(_Api):
    """One version of the model."""

    version: Annotated[int, Field(ge=1, le=2_147_483_647)]
    """Version number, the directory's name in Triton's model repository. The bytes of a version never change once synced: publish other bytes under a new number."""

    source: Source
    """Where the ONNX file comes from."""

    new_embedding_space: bool = False
    """Acknowledges that this version's embeddings cannot be compared with those of the versions before it: what is stored in a vector database must be made anew."""


class LatestPolicy(_Api):
    """Serve the highest version numbers."""

    count: Annotated[int, Field(ge=1, le=64)] = 1
    """How many of the highest version numbers to serve."""


class AllPolicy(_Api):
    """Serve every version in spec.versions."""


class SpecificPolicy(_Api):
    """Serve the versions that are listed."""

    versions: Annotated[
        list[Annotated[int, Field(ge=1, le=2_147_483_647)]],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Version numbers to serve; each must be in spec.versions."""


class VersionPolicy(_Api):
    """Which of the versions serve. A client that names no version gets the highest that serves."""

    latest: LatestPolicy | None = None
    """Serve the highest version numbers: one, unless count says otherwise. The default."""
    all: AllPolicy | None = None
    """Serve every version in spec.versions."""
    specific: SpecificPolicy | None = None
    """Serve exactly the versions that are listed."""


class SpaceLock(StrEnum):
    """What becomes of a version whose embeddings cannot be compared with those that serve."""

    LOCKED = "Locked"
    UNLOCKED = "Unlocked"


class Verification(_Api):
    """How versions prove themselves."""

    tolerance: Annotated[
        str,
        Field(
            pattern=r"^(0\.[0-9]{1,9}|1(\.0{1,9})?)$",
            max_length=12,
            json_schema_extra=_rules(
                (
                    "double(self) >= 0.9",
                    "verification.tolerance is a cosine of at least 0.9: below that nothing is proven",
                )
            ),
        ),
    ] = "0.9999"
    """Smallest cosine between an embedding that Triton serves and the one that was proven at sync, and between embeddings of one space. A decimal number as text."""

    embedding_space: SpaceLock = SpaceLock.LOCKED
    """Locked: a version of another embedding space than the one that serves is refused unless it says newEmbeddingSpace. Unlocked: any version may follow any other."""

    @property
    def min_cosine(self) -> float:
        return float(self.tolerance)


class Batching(_Api):
    """Triton's dynamic batching."""

    max_batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    """Largest batch, of one request and of requests put together. At 32, ViT-B-32 in FP32 takes about 2.5 GB of GPU memory, and one request is 19.3 MB."""

    preferred_batch_sizes: Annotated[
        list[Annotated[int, Field(ge=1, le=1024)]] | None,
        Field(max_length=16, min_length=1, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = None
    """Batch sizes that are run at once when reached, without waiting for the delay. Default: those of 4, 8, 16 and 32 that do not exceed maxBatchSize."""

    max_queue_delay: Annotated[
        str,
        Field(
            pattern=DURATION_PATTERN,
            max_length=16,
            json_schema_extra=_rules(
                (
                    "duration(self) <= duration('10s')",
                    "maxQueueDelay is at most 10s: a request waits that long for company",
                )
            ),
        ),
    ] = "5ms"
    """How long a request may wait for others to share its batch: 1ms for interactive use, 50ms for batch-heavy use. A number with us, ms or s."""

    @property
    def max_queue_delay_us(self) -> int:
        return parse_duration_us(self.max_queue_delay)

    @property
    def effective_preferred_batch_sizes(self) -> tuple[int, ...]:
        sizes = self.preferred_batch_sizes
        if sizes is None:
            # None of the defaults fits below 4: the largest batch is then the one worth firing for.
            return tuple(s for s in DEFAULT_PREFERRED_BATCH_SIZES if s <= self.max_batch_size) or (self.max_batch_size,)
        return tuple(sorted(sizes))


class Storage(_Api):
    """The PersistentVolumeClaim that holds the versions."""

    size: Annotated[
        str,
        Field(
            pattern=QUANTITY_PATTERN,
            max_length=32,
            json_schema_extra=_rules(
                (
                    "quantity(self).compareTo(quantity(oldSelf)) >= 0",
                    "storage.size can only grow: Kubernetes cannot shrink a volume",
                )
            ),
        ),
    ] = "5Gi"
    """Size of the volume. A version of ViT-B-32 takes 352 MB. It can only grow, and only where the StorageClass allows expansion."""

    storage_class_name: Annotated[str | None, Field(max_length=253, min_length=1)] = None
    """StorageClass of the volume; the cluster's default where it is not set. Immutable."""

    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    """Whether the volume stays (Retain) or goes (Delete) when the ClipModel is deleted. A ClipModel of the same name finds a retained volume again."""


class ResourceRequirements(_Api):
    """Compute resources of each Triton container."""

    requests: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """Resources that a node must have free."""

    limits: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """Resources that are never exceeded. Under profile gpu `nvidia.com/gpu: 1` is added unless another count is given."""


class Toleration(_Api):
    """A taint of nodes that the pods tolerate."""

    key: Annotated[str | None, Field(max_length=317)] = None
    """Taint key; every key where it is not set and the operator is Exists."""
    operator: Annotated[str | None, Field(max_length=16, json_schema_extra={"enum": ["Exists", "Equal"]})] = None
    """Exists or Equal (default)."""
    value: Annotated[str | None, Field(max_length=63)] = None
    """Taint value, with Equal."""
    effect: Annotated[
        str | None, Field(max_length=32, json_schema_extra={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]})
    ] = None
    """Taint effect; every effect where it is not set."""
    toleration_seconds: Annotated[int | None, Field(ge=0, le=2_147_483_647)] = None
    """How long a NoExecute taint is tolerated; for ever where it is not set."""


class Serving(_Api):
    """The Triton pods."""

    replicas: Annotated[int, Field(ge=0, le=256)] = 1
    """Number of Triton pods."""

    image: Annotated[str | None, Field(max_length=512, min_length=1)] = None
    """Triton image; where it is not set, the operator's default (production: nvcr.io/nvidia/tritonserver:26.09-py3). Pin it so that an operator upgrade never changes it."""

    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """Compute resources of each Triton container."""

    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]] | None, Field(max_length=32)] = None
    """Labels that a node must have. Sync Jobs obey it too, so that the volume is bound where Triton can run."""

    tolerations: Annotated[
        list[Toleration] | None, Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = None
    """Taints that the pods, and the sync Jobs, tolerate."""


class ClipModelSpec(_Api):
    """What should serve."""

    model_name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?$",
            max_length=63,
            json_schema_extra=_rules(
                (
                    f"!self.endsWith('{CANDIDATE_SUFFIX}')",
                    f"modelName must not end with {CANDIDATE_SUFFIX}: versions are proven under that name",
                )
            ),
        ),
    ] = None
    """Name under which Triton serves the model; metadata.name with - replaced by _ where it is not set. Immutable: clients ask for it."""

    profile: Profile
    """Where the model runs: cpu, or gpu (nodes that offer nvidia.com/gpu)."""

    versions: Annotated[
        list[ModelVersion],
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]},
        ),
    ]
    """The versions that are fetched and proven. versionPolicy says which of them serve; a new one takes over without a restart."""

    version_policy: Annotated[
        VersionPolicy,
        Field(
            default_factory=VersionPolicy,
            json_schema_extra=_rules(
                (
                    "[has(self.latest), has(self.all), has(self.specific)].filter(x, x).size() <= 1",
                    "versionPolicy holds one of latest, all and specific",
                )
            ),
        ),
    ]
    """Which of the versions serve; the highest one where it is not set."""

    batching: Annotated[
        Batching,
        Field(
            default_factory=Batching,
            json_schema_extra=_rules(
                (
                    "!has(self.preferredBatchSizes) || self.preferredBatchSizes.all(s, s <= self.maxBatchSize)",
                    "batching.preferredBatchSizes must not exceed batching.maxBatchSize (default 32)",
                )
            ),
        ),
    ]
    """Triton's dynamic batching."""

    storage: Annotated[
        Storage,
        Field(
            default_factory=Storage,
            json_schema_extra=_rules(
                (
                    "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
                    "storage.storageClassName is immutable: delete the ClipModel and create it again on the other class",
                )
            ),
        ),
    ]
    """The volume that holds the versions."""

    serving: Serving = Field(default_factory=Serving)
    """The Triton pods."""

    verification: Verification = Field(default_factory=Verification)
    """How versions prove themselves."""


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


class VersionStatus(_Api):
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


class Endpoints(_Api):
    """Where clients ask."""

    http: Annotated[str, Field(max_length=253)]
    """HOST:PORT of Triton's HTTP endpoint (KServe v2 protocol)."""
    grpc: Annotated[str, Field(max_length=253)]
    """HOST:PORT of Triton's gRPC endpoint (KServe v2 protocol)."""
    metrics: Annotated[str, Field(max_length=253)]
    """HOST:PORT of Triton's Prometheus metrics."""


class Condition(_Api):
    """One aspect of the state, as the Kubernetes API conventions have it."""

    type: Annotated[str, Field(max_length=64)]
    """Ready, Reconciling, Stalled, Synced, Verified or Available."""
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


class ClipModelStatus(_Api):
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
            max_length=64,
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


def model_name(spec: ClipModelSpec, *, name: str) -> str:
    """Give the name under which Triton serves the model."""
    return spec.model_name or name.replace("-", "_")
