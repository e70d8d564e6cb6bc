"""Whether a file is ONNX, in one piece, with the tensors that the `ClipModel` says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.tensors import Tensors
from clipmodel_sync.checks.skeleton import read_skeleton
from clipmodel_sync.errors import SyncError


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output as the file describes it."""

    dtype: str
    shape: list[int | str]
    """A dimension is a size, or the name (or lack of one) of a size that is decided at run time."""


@dataclass(frozen=True, slots=True)
class _Graph:
    """What the check needs of a model."""

    inputs: dict[str, _Tensor]
    outputs: dict[str, _Tensor]
    has_external_data: bool


def inspect(path: Path, tensors: Tensors) -> None:
    """Check the file without running it.

    Raises:
        SyncError: NotOnnx or SignatureMismatch.

    """
    skeleton = read_skeleton(path)
    graph = _read(skeleton)
    if graph.has_external_data:
        raise SyncError(
            SyncReason.NOT_ONNX,
            "the model keeps weights in another file (external data), expected one file with all in it:"
            " export it as a single file.",
        )
    _check(skeleton)
    _compare("input", graph.inputs, name=tensors.input_name, shape=tensors.input_shape)
    # Other outputs than the named one are allowed: nobody asks for them. Another input nobody would fill.
    if len(graph.inputs) > 1:
        raise SyncError(
            SyncReason.SIGNATURE_MISMATCH,
            f"the model has the inputs {_list(graph.inputs)}, expected only {tensors.input_name!r}:"
            " export it with one input.",
        )
    _compare("output", graph.outputs, name=tensors.output_name, shape=tensors.output_shape)


def _read(skeleton: bytes) -> _Graph:
    import onnx

    try:
        # From bytes: external data, which lies at a path of the model's choice, is never loaded.
        model = onnx.load_from_string(skeleton)
    except Exception as error:  # whatever a parser says about bytes from outside
        raise SyncError(
            SyncReason.NOT_ONNX,
            "the file is not an ONNX model (it cannot be parsed): check that the uri names the .onnx file.",
        ) from error
    initializers = {tensor.name for tensor in model.graph.initializer}
    return _Graph(
        inputs={value.name: _tensor(value) for value in model.graph.input if value.name not in initializers},
        outputs={value.name: _tensor(value) for value in model.graph.output},
        has_external_data=any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)),
    )


def _check(skeleton: bytes) -> None:
    import onnx

    try:
        onnx.checker.check_model(skeleton)
    except Exception as error:
        found = str(error).strip() or type(error).__name__
        raise SyncError(
            SyncReason.NOT_ONNX, f"the ONNX checker rejects the file: export it again. It says: {found}"
        ) from error


def _tensors(graph: Any) -> Iterator[Any]:
    """Give every constant of a graph and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in [attribute.g, *attribute.graphs]:
                yield from _tensors(inner)


def _tensor(value: Any) -> _Tensor:
    import onnx

    tensor = value.type.tensor_type
    return _Tensor(
        dtype=onnx.TensorProto.DataType.Name(tensor.elem_type),
        shape=[
            dimension.dim_value if dimension.HasField("dim_value") else (dimension.dim_param or "?")
            for dimension in tensor.shape.dim
        ],
    )


def _compare(kind: str, found: dict[str, _Tensor], *, name: str, shape: list[int]) -> None:
    if name not in found:
        raise SyncError(
            SyncReason.SIGNATURE_MISMATCH,
            f"the model has no {kind} {name!r}, its {kind}s are {_list(found)}: export it with that name.",
        )
    tensor = found[name]
    if tensor.dtype != "FLOAT" or not _is_compatible(tensor.shape, shape):
        have = ", ".join(map(str, tensor.shape))
        want = ", ".join(str(size) if size > 0 else "batch" for size in shape)
        raise SyncError(
            SyncReason.SIGNATURE_MISMATCH,
            f"the model's {kind} {name!r} is {tensor.dtype} [{have}], expected FLOAT [{want}] with a batch of"
            " any size: export it so.",
        )


def _is_compatible(found: list[int | str], expected: list[int]) -> bool:
    """The batch must be open. Any other dimension may be open too: the proof shows its size at run time."""
    return len(found) == len(expected) and all(
        isinstance(have, str) or have == want for have, want in zip(found, expected, strict=True)
    )


def _list(found: dict[str, _Tensor]) -> str:
    return ", ".join(repr(name) for name in list(found)[:4]) or "none"
