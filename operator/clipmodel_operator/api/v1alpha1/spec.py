"""The spec of a ClipModel: the one source of the CRD, of `kubectl explain`, and of what the operator reads.

Descriptions are for users. The CRD rejects unknown fields under strict validation; these models ignore them, so that an older operator
survives a newer CRD during an upgrade.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from clipmodel_contract import source_uri
from clipmodel_contract.names import CANDIDATE_SUFFIX, default_model_name
from clipmodel_operator.api.v1alpha1.inference import Batching, Instances, Optimization
from clipmodel_operator.api.v1alpha1.rollout import Rollout
from clipmodel_operator.api.v1alpha1.schema import Api, Rule, immutable, rules
from clipmodel_operator.api.v1alpha1.serving import ServiceOptions, Serving
from clipmodel_operator.api.v1alpha1.storage import Storage


class Profile(StrEnum):
    """Where the model runs."""

    CPU = "cpu"
    GPU = "gpu"
    AUTO = "auto"


#: What a server can run with; `auto` becomes one of them.
SERVED_PROFILES = (Profile.CPU, Profile.GPU)


class Source(Api):
    """Where a version's ONNX file comes from, and which bytes it must be."""

    uri: Annotated[str, Field(max_length=source_uri.MAX_LENGTH, pattern=source_uri.PATTERN)]
    """Where the ONNX file is: https://HOST/PATH, http://HOST/PATH, or pvc://CLAIM/PATH for a file on a PersistentVolumeClaim of the same namespace."""

    sha256: Annotated[str, Field(pattern=r"^[a-f0-9]{64}$", max_length=64)]
    """SHA-256 of the ONNX file, 64 lower-case hex digits (`sha256sum model.onnx`). A file with another digest never serves."""


class ModelVersion(Api):
    """One version of the model."""

    version: Annotated[int, Field(ge=1, le=2_147_483_647)]
    """Version number, the directory's name in Triton's model repository. The bytes of a version never change once synced: publish other bytes under a new number."""

    source: Source
    """Where the ONNX file comes from."""

    new_embedding_space: bool = False
    """Acknowledges that this version's embeddings cannot be compared with those of the versions before it: what is stored in a vector database must be made anew."""


class LatestPolicy(Api):
    """Serve the highest version numbers."""

    count: Annotated[int, Field(ge=1, le=64)] = 1
    """How many of the highest version numbers to serve."""


class AllPolicy(Api):
    """Serve every version in spec.versions."""


class SpecificPolicy(Api):
    """Serve the versions that are listed."""

    versions: Annotated[
        list[Annotated[int, Field(ge=1, le=2_147_483_647)]],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Version numbers to serve; each must be in spec.versions."""


class VersionPolicy(Api):
    """Which of the versions serve. A client that names no version gets the highest that serves."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.latest), has(self.all), has(self.specific)].filter(x, x).size() <= 1",
                "versionPolicy holds one of latest, all and specific",
            )
        )
    )

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


class Verification(Api):
    """How versions prove themselves."""

    tolerance: Annotated[
        str,
        Field(
            pattern=r"^(0\.[0-9]{1,9}|1(\.0{1,9})?)$",
            max_length=12,
            json_schema_extra=rules(
                Rule(
                    "double(self) >= 0.9",
                    "verification.tolerance is a cosine of at least 0.9: below that nothing is proven",
                    given="'verification.tolerance is a cosine of at least 0.9, not ' + self + ': below that nothing is proven'",
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


class ClipModelSpec(Api):
    """What should serve."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            immutable(
                "spec", "modelName", "clients ask for the model by it; create another ClipModel for another name"
            ),
            Rule(
                "!has(self.versionPolicy.specific) || self.versionPolicy.specific.versions.all(v, self.versions.exists(w, w.version == v))",
                "spec.versionPolicy.specific.versions names a version that is not in spec.versions: add it there, or leave it out here",
                field=".versionPolicy.specific.versions",
                given="'spec.versionPolicy.specific.versions names version %d, which is not in spec.versions: add it there, or leave it out here'"
                ".format([self.versionPolicy.specific.versions.filter(v, !self.versions.exists(w, w.version == v))[0]])",
            ),
            Rule(
                "self.profile != 'cpu' || !has(self.instances.gpus)",
                "spec.instances.gpus is for profile gpu or auto, and profile is cpu: leave gpus out",
                field=".instances.gpus",
            ),
            Rule(
                "self.profile != 'cpu' || !has(self.serving.gpu)",
                "spec.serving.gpu is for profile gpu or auto, and profile is cpu: leave it out",
                field=".serving.gpu",
            ),
            Rule(
                "!has(self.instances.gpus) || self.instances.gpus.all(g, g < (has(self.serving.gpu) ? self.serving.gpu.count : 1))",
                "spec.instances.gpus must be below spec.serving.gpu.count (default 1): a pod counts its GPUs from 0",
                field=".instances.gpus",
                given="'spec.instances.gpus must be below spec.serving.gpu.count, which is %d: a pod counts its GPUs from 0'"
                ".format([has(self.serving.gpu) ? self.serving.gpu.count : 1])",
            ),
        )
    )

    model_name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?$",
            max_length=63,
            json_schema_extra=rules(
                Rule(
                    f"!self.endsWith('{CANDIDATE_SUFFIX}')",
                    f"modelName must not end with {CANDIDATE_SUFFIX}: versions are proven under that name",
                )
            ),
        ),
    ] = None
    """Name under which Triton serves the model; metadata.name with - replaced by _ where it is not set. Immutable: clients ask for it."""

    profile: Profile
    """Where the model runs: cpu, gpu (nodes that offer GPUs: nvidia.com/gpu, or what serving.gpu names), or auto: gpu if a node offers one when the model is first
    scheduled, else cpu. The choice of auto is in status.profile, and does not change under a running model."""

    versions: Annotated[
        list[ModelVersion],
        Field(
            min_length=1,
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]},
        ),
    ]
    """The versions that are fetched and proven. versionPolicy says which of them serve; a new one takes over without a restart."""

    version_policy: VersionPolicy = Field(default_factory=VersionPolicy)
    """Which of the versions serve; the highest one where it is not set."""

    batching: Batching = Field(default_factory=Batching)
    """Triton's dynamic batching."""

    instances: Instances = Field(default_factory=Instances)
    """How many copies of the model a pod runs, and on which of its GPUs."""

    optimization: Optimization = Field(default_factory=Optimization)
    """ONNX Runtime's own settings."""

    storage: Storage = Field(default_factory=Storage)
    """The volume that holds the versions."""

    serving: Serving = Field(default_factory=Serving)
    """The Triton pods."""

    service: ServiceOptions = Field(default_factory=ServiceOptions)
    """The Service that clients ask."""

    verification: Verification = Field(default_factory=Verification)
    """How versions prove themselves."""

    rollout: Rollout = Field(default_factory=Rollout)
    """How a change of versions, batching, instances or optimization reaches the servers."""

    paused: bool = False
    """While true the operator changes nothing: edits wait, what serves goes on serving, and status goes on telling what is."""


def model_name(spec: ClipModelSpec, *, name: str) -> str:
    """Give the name under which Triton serves the model."""
    return spec.model_name or default_model_name(name)
