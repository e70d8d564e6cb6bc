"""Read a config of ours back from what Triton says that it runs: with its defaults filled in, and 64-bit numbers as texts.

Whether it was read right is told by the hash that it carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from clipmodel_operator.models.revision import Config
from clipmodel_operator.rendering.config_pbtxt import config_id, hash_config

_QUEUE_POLICY = {"timeout_action", "default_timeout_microseconds", "allow_timeout_override", "max_queue_size"}


def recover_config(said: Mapping[str, Any]) -> Config | None:
    """Give the config as it was rendered; None where it is not one of ours, or cannot be read."""
    try:
        config = _recover(said)
        return config if config_id(config) == hash_config(config) else None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        return None


def _recover(said: Mapping[str, Any]) -> dict[str, Any]:
    group = said["instance_group"][0]
    instances = {"kind": group["kind"], "count": int(group["count"])}
    gpus = [int(g) for g in group.get("gpus") or ()]
    config: dict[str, Any] = {
        "name": said["name"],
        "backend": said["backend"],
        "default_model_filename": said["default_model_filename"],
        "max_batch_size": int(said["max_batch_size"]),
        "input": [_tensor(said["input"][0])],
        "output": [_tensor(said["output"][0])],
        "version_policy": {"specific": {"versions": [int(v) for v in said["version_policy"]["specific"]["versions"]]}},
        "dynamic_batching": _batching(said["dynamic_batching"]),
        "instance_group": [{**instances, **({"gpus": gpus} if gpus else {})}],
    }
    optimization = _optimization(said.get("optimization") or {})
    parameters = {k: {"string_value": v["string_value"]} for k, v in said["parameters"].items()}
    if CONFIG_ID_PARAMETER not in parameters:
        raise KeyError(CONFIG_ID_PARAMETER)
    return {**config, **({"optimization": optimization} if optimization else {}), "parameters": parameters}


def _tensor(said: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": said["name"], "data_type": said["data_type"], "dims": [int(d) for d in said["dims"]]}


def _batching(said: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "preferred_batch_size": [int(s) for s in said.get("preferred_batch_size") or ()],
        # Rendered always, also where it is the default.
        "max_queue_delay_microseconds": int(said.get("max_queue_delay_microseconds") or 0),
    }
    for name in ("priority_levels", "default_priority_level"):
        if int(said.get(name) or 0):
            found[name] = int(said[name])
    if said.get("preserve_ordering"):
        found["preserve_ordering"] = True
    policy = said.get("default_queue_policy") or {}
    given = {k: v for k, v in policy.items() if k in _QUEUE_POLICY and v}
    if given:
        found["default_queue_policy"] = _queue_policy(policy)
    return found


def _queue_policy(said: Mapping[str, Any]) -> dict[str, Any]:
    # The first of an enumeration is left out where a message is written as JSON.
    found: dict[str, Any] = {"timeout_action": said.get("timeout_action") or "REJECT"}
    for name in ("default_timeout_microseconds", "max_queue_size"):
        if int(said.get(name) or 0):
            found[name] = int(said[name])
    if said.get("allow_timeout_override"):
        found["allow_timeout_override"] = True
    return found


def _optimization(said: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (said.get("cuda") or {}).get("graphs"):
        found["cuda"] = {"graphs": True}
    level = int((said.get("graph") or {}).get("level") or 0)
    if level:
        found["graph"] = {"level": level}
    return found
