"""Says which model a ClipModel serves, and whether it is ready.

Read from the resource as the cluster has it. The little that is needed here is read by hand: the client
shares no code with the operator.
"""

import json
from dataclasses import dataclass
from typing import Any

from clipmodel_client.embed import MAX_BATCH
from clipmodel_client.kubectl import Cluster, get

RESOURCE = "clipmodels.clipmodel.dev"
GRPC_PORT, HTTP_PORT = 8001, 8000  # of the Service that the operator makes, which has the ClipModel's name


@dataclass(frozen=True, slots=True)
class Served:
    """What a client must know of a ClipModel."""

    model: str
    max_batch: int
    not_ready: str | None  # why, where it is not


def get_served(cluster: Cluster, name: str) -> Served:
    """Read the ClipModel from the cluster.

    Raises:
        ClientError: there is none, or the cluster cannot be asked.

    """
    return parse_served(json.loads(get(cluster, "get", RESOURCE, name, "--output", "json")))


def parse_served(resource: dict[str, Any]) -> Served:
    """Read what a client needs; defaults are those of the API."""
    spec, name = resource.get("spec", {}), resource["metadata"]["name"]
    conditions = {condition["type"]: condition for condition in resource.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready", {})
    not_ready = None
    if ready.get("status") != "True":
        not_ready = ready.get("message") or "the operator has not reported on it yet; does it run?"
    return Served(
        model=spec.get("modelName") or name.replace("-", "_"),
        max_batch=int(spec.get("batching", {}).get("maxBatchSize", MAX_BATCH)) or 1,
        not_ready=not_ready,
    )
