"""config.pbtxt: Triton's ModelConfig of a ClipModel, annotated for whoever opens it in a pod."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from clipmodel_operator.models.clipmodel import ClipModel


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


def render_config_pbtxt(model: ClipModel, *, versions: Sequence[int]) -> str:
    """Render the config that loads exactly `versions`, which must not be empty."""
    if not versions:
        raise ValueError("a config without versions would make Triton serve none")
    return _ENVIRONMENT.get_template("config.pbtxt.j2").render(
        header=f"{model.model_name}: OpenCLIP image embeddings on ONNX Runtime, profile {model.spec.profile.value}.",
        model_name=model.model_name,
        batching=model.spec.batching,
        tensors=model.tensors,
        versions=sorted(versions),
        profile=model.spec.profile.value,
    )
