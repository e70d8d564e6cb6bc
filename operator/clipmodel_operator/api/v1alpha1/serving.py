"""The part of the API that is about the Triton pods and the Service in front of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from clipmodel_operator.api.v1alpha1.inference import MAX_GPUS
from clipmodel_operator.api.v1alpha1.scheduling import Affinity, Toleration, TopologySpreadConstraint
from clipmodel_operator.api.v1alpha1.schema import (
    Api,
    LabelValue,
    ObjectName,
    Period,
    Quantity,
    Rule,
    between,
    label_keys,
    rules,
)
from clipmodel_operator.models import names
from clipmodel_operator.models.quantity import parse_seconds

#: The probe's program waits for Triton within each period (clipmodel_probe): a shorter one would find it no sooner.
# Kubelet's first run is up to a period after the pod was made; the program then waits for Triton by itself, and a run that fails takes this long.
STARTUP_PERIOD_S = 1
STARTUP_RUN_S = 5

# What our own labels and annotations are: a user's value would be overwritten, or break a selector.
_OWN_LABELS = sorted(names.labels("x", names.COMPONENT_SERVER))


def _reserved(field: str) -> Rule:
    return Rule(
        f"!self.exists(k, k.startsWith('{names.GROUP}/'))",
        f"{field}: keys that begin with {names.GROUP}/ are the operator's own",
    )


class ResourceRequirements(Api):
    """Compute resources of each Triton container."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits)"
                " || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
                "serving.resources.requests must not exceed serving.resources.limits",
                field=".requests",
                given="'serving.resources.requests must not exceed serving.resources.limits: look at %s'.format([self.requests.filter(k, k in self.limits"
                " && quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) > 0)[0]])",
            )
        )
    )

    requests: Annotated[
        dict[str, Quantity] | None,
        Field(max_length=16, json_schema_extra=rules(label_keys("serving.resources.requests"))),
    ] = None
    """Resources that a node must have free."""

    limits: Annotated[
        dict[str, Quantity] | None,
        Field(max_length=16, json_schema_extra=rules(label_keys("serving.resources.limits"))),
    ] = None
    """Resources that are never exceeded. Under profile gpu `nvidia.com/gpu: 1` is added unless another count is given; serving.gpu says it better."""


class Gpu(Api):
    """Which GPUs each pod asks for."""

    resource_name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            max_length=128,
        ),
    ] = "nvidia.com/gpu"
    """The resource that nodes offer: nvidia.com/gpu, or that of a shared or divided GPU, such as nvidia.com/gpu.shared or nvidia.com/mig-1g.10gb."""

    count: Annotated[int, Field(ge=1, le=MAX_GPUS)] = 1
    """How many of them each pod gets. The model runs on all, unless instances.gpus says which."""


class StartupProbe(Api):
    """How long a pod may take to load the model and pass the golden check."""

    deadline: Annotated[
        Period, Field(json_schema_extra=rules(between("serving.probes.startup.deadline", "30s", "6h")))
    ] = "15m"
    """How long a pod may take until it has loaded the model and passed the golden check; then it is started again."""

    @property
    def failure_threshold(self) -> int:
        return -(-parse_seconds(self.deadline) // STARTUP_RUN_S)


class ReadinessProbe(Api):
    """When a pod gets no more requests."""

    period: Annotated[
        Period, Field(json_schema_extra=rules(between("serving.probes.readiness.period", "1s", "5m")))
    ] = "5s"
    """How often a pod is asked whether the model is ready."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    """After how many answers of no in a row it gets no more requests."""


class LivenessProbe(Api):
    """When a container is started again."""

    period: Annotated[Period, Field(json_schema_extra=rules(between("serving.probes.liveness.period", "1s", "5m")))] = (
        "10s"
    )
    """How often a pod is asked whether Triton is alive."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 6
    """After how many missing answers in a row the container is started again."""


class Probes(Api):
    """When a pod counts as started, ready and alive. What is asked is the operator's: only the times can be changed."""

    startup: StartupProbe = Field(default_factory=StartupProbe)
    """How long a pod may take to load the model and pass the golden check."""
    readiness: ReadinessProbe = Field(default_factory=ReadinessProbe)
    """When a pod gets no more requests."""
    liveness: LivenessProbe = Field(default_factory=LivenessProbe)
    """When a container is started again."""


class PullSecret(Api):
    """A Secret with registry credentials."""

    name: ObjectName
    """Name of the Secret, in this namespace."""


class Serving(Api):
    """The Triton pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.gpu) || !((has(self.resources.limits) && self.gpu.resourceName in self.resources.limits)"
                " || (has(self.resources.requests) && self.gpu.resourceName in self.resources.requests))",
                "serving.gpu and serving.resources ask for the same GPUs: leave them out of resources",
                field=".gpu",
            )
        )
    )

    replicas: Annotated[int, Field(ge=0, le=256)] = 1
    """Number of Triton pods."""

    image: Annotated[str | None, Field(max_length=512, min_length=1, pattern=r"^\S+$")] = None
    """Triton image; where it is not set, the operator's default (production: nvcr.io/nvidia/tritonserver:26.09-py3). Pin it so that an operator upgrade never changes it."""

    image_pull_secrets: Annotated[
        list[PullSecret] | None,
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = None
    """Secrets with registry credentials, for the Triton pods and the sync Jobs."""

    service_account_name: ObjectName | None = None
    """ServiceAccount of the Triton pods; the namespace's default where it is not set. Its token is not mounted: Triton asks no API."""

    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    """Compute resources of each Triton container."""

    gpu: Gpu | None = None
    """Which GPUs each pod asks for; one nvidia.com/gpu where it is not set. Only under profile gpu or auto."""

    node_selector: Annotated[
        dict[str, LabelValue] | None,
        Field(max_length=32, json_schema_extra=rules(label_keys("serving.nodeSelector"))),
    ] = None
    """Labels that a node must have. Sync Jobs obey it too, so that the volume is bound where Triton can run."""

    tolerations: Annotated[
        list[Toleration] | None, Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = None
    """Taints that the pods, and the sync Jobs, tolerate."""

    affinity: Affinity | None = None
    """Which nodes, and near or apart from which pods. Sync Jobs obey the part about nodes. On a ReadWriteOnce volume that the operator made, all pods
    are moreover kept on one node: required anti-affinity between them leaves the second one pending."""

    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint] | None,
        Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = None
    """How evenly the pods are spread over nodes or zones."""

    priority_class_name: ObjectName | None = None
    """PriorityClass of the Triton pods: which pods give way when a cluster is full."""

    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the Triton pods, such as nvidia where it is not the nodes' default."""

    pod_labels: Annotated[
        dict[str, LabelValue] | None,
        Field(
            max_length=16,
            json_schema_extra=rules(
                label_keys("serving.podLabels"),
                _reserved("serving.podLabels"),
                Rule(
                    " && ".join(f"!('{label}' in self)" for label in _OWN_LABELS),
                    f"serving.podLabels: {', '.join(_OWN_LABELS)} are the operator's own",
                ),
            ),
        ),
    ] = None
    """Further labels of the Triton pods: for network policies, cost reports."""

    pod_annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]] | None,
        Field(
            max_length=32,
            json_schema_extra=rules(label_keys("serving.podAnnotations"), _reserved("serving.podAnnotations")),
        ),
    ] = None
    """Annotations of the Triton pods: for service meshes, log and metrics collectors."""

    probes: Probes = Field(default_factory=Probes)
    """When a pod counts as started, ready and alive."""

    termination_grace_period: Annotated[
        Period, Field(json_schema_extra=rules(between("serving.terminationGracePeriod", "35s", "1h")))
    ] = "60s"
    """How long a pod that ends has, in all: 10 s in which it still serves until it has left the Service, the time for requests that run, and a reserve of 20 s."""

    @property
    def termination_grace_period_s(self) -> int:
        return parse_seconds(self.termination_grace_period)


class ServiceType(StrEnum):
    """How the Service can be reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ServiceOptions(Api):
    """The Service that clients ask."""

    type: ServiceType = ServiceType.CLUSTER_IP
    """ClusterIP: from inside the cluster. NodePort and LoadBalancer: from outside too. Triton asks nobody for a password: see to who can reach it."""

    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]] | None,
        Field(
            max_length=32, json_schema_extra=rules(label_keys("service.annotations"), _reserved("service.annotations"))
        ),
    ] = None
    """Annotations of the Service: for load balancers and service meshes."""
