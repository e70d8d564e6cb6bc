"""Says which model a ClipModel serves, and whether it is ready.

Read from the resource as the cluster has it. The little that is needed here is read by hand: the client
imports nothing of the operator.
"""

import json
from dataclasses import dataclass
from typing import Any

from clipmodel_client.embed import MAX_BATCH
from clipmodel_client.kubectl import Cluster, get
from clipmodel_contract.names import default_model_name

RESOURCE = "clipmodels.clipmodel.dev"


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
        model=spec.get("modelName") or default_model_name(name),
        max_batch=int(spec.get("batching", {}).get("maxBatchSize", MAX_BATCH)) or 1,
        not_ready=not_ready,
    )
