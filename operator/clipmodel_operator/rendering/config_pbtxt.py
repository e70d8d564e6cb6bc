"""Triton's ModelConfig of a ClipModel: as annotated config.pbtxt for whoever opens it, and as JSON for the load call.

Both say the same; a test parses them with Triton's own protobuf. Each carries its own hash as a parameter, so that a server can be asked
which config it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.inference import Batching, GraphLevel, Optimization, QueuePolicy
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.package_files import CONFIG_TEMPLATE


def _pbtxt_string(text: str) -> str:
    """Quote a string for protobuf's text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _environment() -> jinja2.Environment:
    # No HTML here: autoescape would turn quotes into entities. Values are quoted by the filter.
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"config.pbtxt": CONFIG_TEMPLATE}),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - protobuf text, not HTML
        keep_trailing_newline=True,
    )
    environment.filters["pbtxt"] = _pbtxt_string
    return environment


_ENVIRONMENT = _environment()


def _instance_group(model: ClipModel, profile: Profile) -> dict[str, Any]:
    instances, gpu = model.spec.instances, model.spec.serving.gpu
    match profile:
        case Profile.CPU:
            return {"kind": "KIND_CPU", "count": instances.count}
        case Profile.GPU:
            gpus = sorted(instances.gpus) if instances.gpus else list(range(gpu.count if gpu else 1))
            return {"kind": "KIND_GPU", "gpus": gpus, "count": instances.count}
        case Profile.AUTO:
            raise ValueError("profile auto is resolved before anything is rendered")


def _queue_policy(policy: QueuePolicy) -> dict[str, Any]:
    found = {
        "timeout_action": policy.timeout_action.value.upper(),
        "default_timeout_microseconds": policy.default_timeout_us,
        # Triton compares a request's own timeout with the default one, and takes the shorter.
        "allow_timeout_override": policy.allow_timeout_override or None,
        "max_queue_size": policy.max_queue_size,
    }
    return {k: v for k, v in found.items() if v is not None}


def _dynamic_batching(batching: Batching) -> dict[str, Any]:
    """Render what is asked for, and nothing for what is not: a field more is another hash, and a load in every running server."""
    found: dict[str, Any] = {
        "preferred_batch_size": list(batching.effective_preferred_batch_sizes),
        "max_queue_delay_microseconds": batching.max_queue_delay_us,
        "preserve_ordering": batching.preserve_ordering or None,
        "priority_levels": batching.priority_levels,
        "default_priority_level": batching.default_priority_level,
        "default_queue_policy": _queue_policy(batching.queue_policy) if batching.queue_policy else None,
    }
    return {k: v for k, v in found.items() if v is not None}


#: What the onnxruntime backend makes of `optimization { graph { level } }`; without it, everything is on.
_GRAPH_LEVELS = {GraphLevel.DISABLED: 2, GraphLevel.BASIC: -1, GraphLevel.EXTENDED: 1}


def _optimization(model: ClipModel, profile: Profile) -> dict[str, Any]:
    found: dict[str, Any] = {"cuda": {"graphs": True}} if profile is Profile.GPU else {}
    level = _GRAPH_LEVELS.get(model.spec.optimization.graph_level)
    return {**found, "graph": {"level": level}} if level is not None else found


def _parameters(optimization: Optimization) -> dict[str, str]:
    """Give the onnxruntime backend's parameters. inter_op_thread_count counts only where branches run in parallel (execution_mode 1)."""
    found = {}
    if optimization.intra_op_threads is not None:
        found["intra_op_thread_count"] = str(optimization.intra_op_threads)
    if optimization.inter_op_threads is not None:
        found |= {"inter_op_thread_count": str(optimization.inter_op_threads), "execution_mode": "1"}
    return found


def render_config(
    model: ClipModel, *, versions: Sequence[int], profile: Profile, name: str | None = None
) -> dict[str, Any]:
    """Render the config that loads exactly `versions`, as protobuf's JSON. `name` is another than the model's for candidates.

    `versions` must not be empty: Triton would serve none, and say that all is well.
    """
    if not versions:
        raise ValueError("a config without versions would make Triton serve none")
    batching, tensors = model.spec.batching, model.tensors
    image = [3, tensors.image_size, tensors.image_size]
    config: dict[str, Any] = {
        "name": name or model.model_name,
        "backend": "onnxruntime",
        "default_model_filename": "model.onnx",
        "max_batch_size": batching.max_batch_size,
        "input": [{"name": tensors.input_name, "data_type": "TYPE_FP32", "dims": image}],
        "output": [{"name": tensors.output_name, "data_type": "TYPE_FP32", "dims": [tensors.dimension]}],
        "version_policy": {"specific": {"versions": sorted(versions)}},
        "dynamic_batching": _dynamic_batching(batching),
        "instance_group": [_instance_group(model, profile)],
    }
    optimization, parameters = _optimization(model, profile), _parameters(model.spec.optimization)
    if optimization:
        config["optimization"] = optimization
    if parameters:
        config["parameters"] = {k: {"string_value": v} for k, v in parameters.items()}
    identity = {CONFIG_ID_PARAMETER: {"string_value": hash_config(config)}}
    return {**config, "parameters": {**config.get("parameters", {}), **identity}}


def hash_config(config: Mapping[str, Any]) -> str:
    """Give the hash that a config should carry: of all of it but the hash."""
    others = {k: v for k, v in config.get("parameters", {}).items() if k != CONFIG_ID_PARAMETER}
    content = {k: v for k, v in config.items() if k != "parameters"}
    return content_hash({**content, "parameters": others} if others else content)


def config_id(config: Mapping[str, Any]) -> str:
    """Give the hash that a config carries."""
    return str(config["parameters"][CONFIG_ID_PARAMETER]["string_value"])


def render_config_pbtxt(model: ClipModel, *, versions: Sequence[int], profile: Profile | None = None) -> str:
    """Render the annotated config that loads exactly `versions`, which must not be empty."""
    profile = profile or model.spec.profile
    return write_config_pbtxt(render_config(model, versions=versions, profile=profile), profile=profile.value)


def write_config_pbtxt(config: Mapping[str, Any], *, profile: str) -> str:
    """Write a config as annotated text. Of the config alone: what is committed can be written again whatever the spec says by now."""
    batching, parameters = config["dynamic_batching"], config["parameters"]
    policy, level = (
        batching.get("default_queue_policy", {}),
        config.get("optimization", {}).get("graph", {}).get("level"),
    )
    timeout_us = policy.get("default_timeout_microseconds")
    if policy:
        batching = {**batching, "default_queue_policy": _in_order(policy)}
    return _ENVIRONMENT.get_template("config.pbtxt").render(
        header=f"{config['name']}: OpenCLIP image embeddings on ONNX Runtime, profile {profile}.",
        model_name=config["name"],
        max_batch_size=config["max_batch_size"],
        batching=batching,
        queue_delay=_duration(batching["max_queue_delay_microseconds"]),
        queue_timeout="for ever" if timeout_us is None else _duration(timeout_us),
        graph_level=next((name.value for name, number in _GRAPH_LEVELS.items() if number == level), ""),
        input=config["input"][0],
        output=config["output"][0],
        versions=config["version_policy"]["specific"]["versions"],
        profile=profile,
        instance_group=config["instance_group"][0],
        optimization=config.get("optimization", {}),
        parameters={k: v["string_value"] for k, v in _in_order(parameters).items() if k != CONFIG_ID_PARAMETER},
        config_id_parameter=CONFIG_ID_PARAMETER,
        config_id=config_id(config),
    )


#: As they are rendered; JSON that was read back has its keys in another order, and the text must not change with that.
_ORDER = (
    "timeout_action",
    "default_timeout_microseconds",
    "allow_timeout_override",
    "max_queue_size",
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
)


def _in_order(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: fields[k] for k in sorted(fields, key=lambda k: (_ORDER.index(k) if k in _ORDER else len(_ORDER), k))}


def _duration(microseconds: int) -> str:
    """Write a duration in the largest unit that needs no fraction."""
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if microseconds and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{microseconds}us"
