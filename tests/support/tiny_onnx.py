"""Which bytes can a test serve instead of a 352 MB ViT-B-32?

A model with the contract of the real one (`image` FP32 `[batch,3,S,S]` to `embedding` FP32 `[batch,D]`, not
normalised) in about 100 KB, made in milliseconds with `onnx` alone. It averages the picture over a coarse
grid and projects that linearly, so two different pictures get clearly different vectors, the same picture
gets the same one in every batch, and two seeds are two incompatible embedding spaces. The same arguments
give the same bytes on every machine: weights come from SHAKE-128, not from a library's random generator.

The arguments and `Fault` make the wrong models that the sync Job, the operator and Triton must refuse.
"""

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# 4 x 4 x 3 averages: 98 KB of weights at dimension 512, and still 48 ways for two pictures to differ.
GRID = 4
# Old enough for every ONNX Runtime that we meet (Triton 2.51's time and the newest).
OPSET = 17
IR_VERSION = 8


class Fault(Enum):
    """What is wrong with a model although its tensors have the right names, types and shapes."""

    NONE = "none"
    BATCH_DEPENDENT = "the mean of the batch is part of every vector"
    NAN = "every value is NaN"
    ZERO = "every value is 0"
    CONSTANT = "every picture has the same vector"
    OVERFLOW = "finite in FP32, beyond float16's 65,504"
    UNKNOWN_OPERATOR = "the ONNX checker accepts it, ONNX Runtime cannot load it"


class Dtype(Enum):
    """Element types, by the names that Triton uses."""

    FP32 = TensorProto.FLOAT
    FP16 = TensorProto.FLOAT16
    FP64 = TensorProto.DOUBLE
    UINT8 = TensorProto.UINT8


@dataclass(frozen=True, slots=True)
class TinyOnnx:
    """A tiny model on disk, with what a `ClipModel` says about it."""

    path: Path
    sha256: str
    size_bytes: int


class TinyOptions(TypedDict, total=False):
    """The arguments of `build_tiny_onnx`, for whoever hands them on."""

    seed: int
    image_size: int
    dimension: int
    input_name: str
    output_name: str
    input_dtype: Dtype
    output_dtype: Dtype
    batch: str | int
    extra_output: str | None
    fault: Fault
    memory_mib: int
    note: str


def build_tiny_onnx(
    *,
    seed: int = 0,
    image_size: int = 224,
    dimension: int = 512,
    input_name: str = "image",
    output_name: str = "embedding",
    input_dtype: Dtype = Dtype.FP32,
    output_dtype: Dtype = Dtype.FP32,
    batch: str | int = "batch",
    extra_output: str | None = None,
    fault: Fault = Fault.NONE,
    memory_mib: int = 0,
    note: str = "",
) -> bytes:
    """Return the model's bytes; `batch` as a number makes the batch dimension fixed.

    Another `note` makes other bytes that embed the same: another version of the same embedding space. So does `memory_mib`: whoever loads the
    model takes so much more memory, and the file is as small.
    """
    if image_size < GRID:
        raise ValueError(f"image_size {image_size} is below the grid of {GRID}")
    parts = _Parts()
    features = _add_tower(parts, seed=seed, image_size=image_size, dimension=dimension, input_name=input_name)
    result = _add_fault(parts, fault)
    if memory_mib:
        result = _add_memory(parts, result, memory_mib)
    parts.node("Cast", [result], output_name, to=output_dtype.value)
    outputs = [helper.make_tensor_value_info(output_name, output_dtype.value, [batch, dimension])]
    if extra_output is not None:
        parts.node("Identity", ["tiny_features"], extra_output)
        outputs.append(helper.make_tensor_value_info(extra_output, TensorProto.FLOAT, [batch, features]))
    inputs = [helper.make_tensor_value_info(input_name, input_dtype.value, [batch, 3, image_size, image_size])]
    model = helper.make_model(
        helper.make_graph(parts.nodes, "tiny", inputs, outputs, initializer=parts.constants),
        opset_imports=parts.domains,
        ir_version=IR_VERSION,
        producer_name="clipmodel-tests",
        doc_string=note,
    )
    helper.set_model_props(model, {"clipmodel.weights": f"tiny seed={seed}"})
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


@dataclass(frozen=True, slots=True)
class _Parts:
    """A graph that grows. Names inside begin with tiny_, so that no input or output name can collide with one."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    domains: list[onnx.OperatorSetIdProto] = field(default_factory=lambda: [helper.make_opsetid("", OPSET)])

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name


def _add_tower(parts: _Parts, *, seed: int, image_size: int, dimension: int, input_name: str) -> int:
    """Average over the grid and project: `tiny_vector`. Give the number of averages."""
    kernel = image_size // GRID
    side = (image_size - kernel) // kernel + 1
    features = 3 * side * side
    parts.constant("tiny_middle", 0.5)
    parts.constant("tiny_weight", _weights(seed, features, dimension))
    # Another stream of weights than the projection's.
    parts.constant("tiny_bias", _weights(seed + 1_000_003, 1, dimension)[0] * np.float32(0.05))
    parts.node("Cast", [input_name], "tiny_pixels", to=TensorProto.FLOAT)
    parts.node("Sub", ["tiny_pixels", "tiny_middle"], "tiny_centred")
    parts.node("AveragePool", ["tiny_centred"], "tiny_pooled", kernel_shape=[kernel, kernel], strides=[kernel, kernel])
    parts.node("Flatten", ["tiny_pooled"], "tiny_features", axis=1)
    parts.node("Gemm", ["tiny_features", "tiny_weight", "tiny_bias"], "tiny_vector")
    return features


def _add_fault(parts: _Parts, fault: Fault) -> str:
    """Spoil `tiny_vector`, and give the name of what is left of it."""
    match fault:
        case Fault.NONE:
            return "tiny_vector"
        case Fault.BATCH_DEPENDENT:
            parts.node("ReduceMean", ["tiny_vector"], "tiny_batch_mean", axes=[0], keepdims=1)
            return parts.node("Add", ["tiny_vector", "tiny_batch_mean"], "tiny_mixed")
        case Fault.NAN:
            parts.constant("tiny_minus_one", -1)
            parts.node("Abs", ["tiny_vector"], "tiny_positive")
            parts.node("Sub", ["tiny_minus_one", "tiny_positive"], "tiny_negative")
            return parts.node("Sqrt", ["tiny_negative"], "tiny_not_a_number")
        case Fault.ZERO:
            return _add_product(parts, 0.0)
        case Fault.CONSTANT:
            return parts.node("Add", [_add_product(parts, 0.0), "tiny_bias"], "tiny_constant")
        case Fault.OVERFLOW:
            return _add_product(parts, 1e6)
        case Fault.UNKNOWN_OPERATOR:
            parts.domains.append(helper.make_opsetid("example.invalid", 1))
            return parts.node("Imaginary", ["tiny_vector"], "tiny_imagined", domain="example.invalid")


def _add_product(parts: _Parts, factor: float) -> str:
    return parts.node("Mul", ["tiny_vector", parts.constant("tiny_factor", factor)], "tiny_scaled")


def _add_memory(parts: _Parts, result: str, mib: int) -> str:
    """Add a zero out of very many: a constant that ONNX Runtime makes when it loads, and keeps, for which zero is wanted it learns later."""
    parts.constants.append(numpy_helper.from_array(np.asarray([mib * 2**18], dtype=np.int64), "tiny_many"))
    parts.constants.append(numpy_helper.from_array(np.asarray(0, dtype=np.int64), "tiny_first"))
    parts.node("ConstantOfShape", ["tiny_many"], "tiny_zeros")
    parts.node("ReduceMax", [result], "tiny_largest", keepdims=0)
    parts.node("Cast", ["tiny_largest"], "tiny_number", to=TensorProto.INT64)
    parts.node("Mul", ["tiny_number", "tiny_first"], "tiny_which")
    parts.node("Gather", ["tiny_zeros", "tiny_which"], "tiny_zero")
    return parts.node("Add", [result, "tiny_zero"], "tiny_large")


def _weights(seed: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Give uniform weights in [-1, 1), the same for ever for one seed and shape."""
    drawn = hashlib.shake_128(f"clipmodel-tiny/{seed}/{rows}x{columns}".encode()).digest(rows * columns)
    centred = np.frombuffer(drawn, dtype=np.uint8).astype(np.float32) - np.float32(128)
    return (centred / np.float32(128)).reshape(rows, columns)


def write_tiny_onnx(path: Path, **options: Unpack[TinyOptions]) -> TinyOnnx:
    """Write the model to `path`, whose parents are made, and say its digest and size."""
    content = build_tiny_onnx(**options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return TinyOnnx(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
