"""The Service that clients ask."""

from __future__ import annotations

from typing import Any

from clipmodel_contract.ports import GRPC_PORT, HTTP_PORT, METRICS_PORT
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.status import Endpoints
from clipmodel_operator.models import names


def render_service(model: ClipModel) -> dict[str, Any]:
    options = model.spec.service
    ports = (("http", HTTP_PORT), ("grpc", GRPC_PORT), ("metrics", METRICS_PORT))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": model.key.name,
            "labels": names.labels(model.key.name, names.COMPONENT_SERVER),
            **({"annotations": dict(options.annotations)} if options.annotations else {}),
            "ownerReferences": [model.owner_reference],
        },
        "spec": {
            "type": options.type.value,
            "selector": names.selector_labels(model.key.name),
            "ports": [{"name": n, "port": p, "targetPort": n, "protocol": "TCP"} for n, p in ports],
        },
    }


def endpoints(model: ClipModel) -> Endpoints:
    """Give the addresses of the Service. Without the cluster's domain, which no pod needs."""
    host = f"{model.key.name}.{model.key.namespace}.svc"
    return Endpoints(http=f"{host}:{HTTP_PORT}", grpc=f"{host}:{GRPC_PORT}", metrics=f"{host}:{METRICS_PORT}")
