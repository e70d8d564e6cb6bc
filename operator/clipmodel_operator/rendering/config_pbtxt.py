"""Triton's ModelConfig of a ClipModel: as annotated config.pbtxt for whoever opens it, and as JSON for the load call.

Both say the same; a test parses them with Triton's own protobuf. Each carries its own hash as a parameter, so that a server can be asked
which config it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from clipmodel_operator.models.api import Profile
from clipmodel_operator.models.clipmodel import ClipModel
from clipmodel_operator.rendering.canonical import content_hash

#: Triton hands parameters that it does not know to nobody, and tells them on request.
CONFIG_ID_PARAMETER = "clipmodel.dev/config-id"


def _pbtxt_string(text: str) -> str:
    """Quote a string for protobuf's text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _environment() -> jinja2.Environment:
    # No HTML here: autoescape would turn quotes into entities. Values are quoted by the filter.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipmodel_operator.rendering"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - protobuf text, not HTML
        keep_trailing_newline=True,
    )
    environment.filters["pbtxt"] = _pbtxt_string
    return environment


_ENVIRONMENT = _environment()


def _instance_group(profile: Profile) -> dict[str, Any]:
    match profile:
        case Profile.CPU:
            return {"kind": "KIND_CPU", "count": 1}
        case Profile.GPU:
            return {"kind": "KIND_GPU", "gpus": [0], "count": 1}


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
        "dynamic_batching": {
            "preferred_batch_size": list(batching.effective_preferred_batch_sizes),
            "max_queue_delay_microseconds": batching.max_queue_delay_us,
        },
        "instance_group": [_instance_group(profile)],
    }
    if profile is Profile.GPU:
        config["optimization"] = {"cuda": {"graphs": True}}
    return {**config, "parameters": {CONFIG_ID_PARAMETER: {"string_value": content_hash(config)}}}


def config_id(config: dict[str, Any]) -> str:
    """Give the hash that a config carries."""
    return str(config["parameters"][CONFIG_ID_PARAMETER]["string_value"])


def render_config_pbtxt(model: ClipModel, *, versions: Sequence[int], profile: Profile | None = None) -> str:
    """Render the annotated config that loads exactly `versions`, which must not be empty."""
    profile = profile or model.spec.profile
    config = render_config(model, versions=versions, profile=profile)
    return _ENVIRONMENT.get_template("config.pbtxt.j2").render(
        header=f"{model.model_name}: OpenCLIP image embeddings on ONNX Runtime, profile {profile.value}.",
        model_name=model.model_name,
        batching=model.spec.batching,
        tensors=model.tensors,
        versions=sorted(versions),
        profile=profile.value,
        config_id_parameter=CONFIG_ID_PARAMETER,
        config_id=config_id(config),
    )
