"""A roll under way, as the operator sees it: a Deployment of template `new`, pods of `old`, and a pod of `new` that has no place."""

from __future__ import annotations

from typing import Any

from support.builders import build_server_pod

Object = dict[str, Any]
GPU: Object = {"limits": {"nvidia.com/gpu": "1"}}
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
NOT_NEAR = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod affinity rules."


def build_template(name: str, *, resources: Object | None = None) -> Object:
    return {
        "metadata": {"annotations": {"clipmodel.dev/template-hash": name}},
        "spec": {"containers": [{"name": "mesh"}, {"name": "triton", "resources": resources or {}}]},
    }


def build_deployment(
    *,
    replicas: int = 2,
    updated: int = 1,
    max_surge: int = 1,
    failure: str | None = None,
    resources: Object | None = None,
) -> Object:
    """Build a Deployment that counts so many pods; `failure` is why it may not make one."""
    status: Object = {"replicas": replicas, "updatedReplicas": updated}
    if failure is not None:
        status["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": failure}]
    strategy = {"rollingUpdate": {"maxSurge": max_surge}}
    return {"spec": {"strategy": strategy, "template": build_template("new", resources=resources)}, "status": status}


def build_pod(
    name: str, template: str, *, resources: Object | None = None, is_ending: bool = False, **spec: Any
) -> Object:
    """Build a pod that serves; `spec` are further fields of its spec."""
    made = build_template(template, resources=resources)
    pod = build_server_pod(name, is_ending=is_ending)
    pod["metadata"]["annotations"] |= made["metadata"]["annotations"]
    pod["spec"] |= {**made["spec"], **spec}
    return pod


def build_refused_pod(
    message: str, *, template: str = "new", resources: Object | None = None, is_ending: bool = False, **spec: Any
) -> Object:
    """Build a pod that no node takes."""
    pod = build_pod("clip-new", template, resources=resources, **spec)
    refused = build_server_pod("clip-new", unschedulable=message, is_ending=is_ending)
    del pod["spec"]["nodeName"]
    return {
        **pod,
        "metadata": {**refused["metadata"], "annotations": pod["metadata"]["annotations"]},
        "status": refused["status"],
    }
