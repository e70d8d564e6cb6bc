"""Which bytes can a test serve instead of a 352 MB ViT-B-32?

A model with the contract of the real one (`image` FP32 `[batch,3,S,S]` to `embedding` FP32 `[batch,D]`, not
normalised) in about 100 KB, made in milliseconds with `onnx` alone. It averages the picture over a coarse
grid and projects that linearly, so two different pictures get clearly different vectors, the same picture
gets the same one in every batch, and two seeds are two incompatible embedding spaces. The same arguments
give the same bytes on every machine: weights come from SHAKE-128, not from a library's random generator.

The arguments and `Fault` make the wrong models that the sync Job, the operator and Triton must refuse.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypedDict, Unpack

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
    note: str = "",
) -> bytes:
    """Return the model's bytes; `batch` as a number makes the batch dimension fixed.

    Another `note` makes other bytes that embed the same: another version of the same embedding space.
    """
    if image_size < GRID:
        raise ValueError(f"image_size {image_size} is below the grid of {GRID}")
    kernel = image_size // GRID
    side = (image_size - kernel) // kernel + 1
    features = 3 * side * side
    # Names inside begin with tiny_, so that no input or output name can collide with one.
    constants = [
        numpy_helper.from_array(np.float32(0.5).reshape(()), "tiny_middle"),
        numpy_helper.from_array(_weights(seed, features, dimension), "tiny_weight"),
        numpy_helper.from_array(_weights(seed + 1_000_003, 1, dimension)[0] * np.float32(0.05), "tiny_bias"),
    ]
    nodes = [
        helper.make_node("Cast", [input_name], ["tiny_pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["tiny_pixels", "tiny_middle"], ["tiny_centred"]),
        helper.make_node(
            "AveragePool", ["tiny_centred"], ["tiny_pooled"], kernel_shape=[kernel, kernel], strides=[kernel, kernel]
        ),
        helper.make_node("Flatten", ["tiny_pooled"], ["tiny_features"], axis=1),
        helper.make_node("Gemm", ["tiny_features", "tiny_weight", "tiny_bias"], ["tiny_vector"]),
    ]
    domains = [helper.make_opsetid("", OPSET)]
    match fault:
        case Fault.NONE:
            result = "tiny_vector"
        case Fault.BATCH_DEPENDENT:
            nodes += [
                helper.make_node("ReduceMean", ["tiny_vector"], ["tiny_batch_mean"], axes=[0], keepdims=1),
                helper.make_node("Add", ["tiny_vector", "tiny_batch_mean"], ["tiny_mixed"]),
            ]
            result = "tiny_mixed"
        case Fault.NAN:
            nodes += [
                helper.make_node("Abs", ["tiny_vector"], ["tiny_positive"]),
                helper.make_node("Sub", ["tiny_minus_one", "tiny_positive"], ["tiny_negative"]),
                helper.make_node("Sqrt", ["tiny_negative"], ["tiny_not_a_number"]),
            ]
            constants.append(numpy_helper.from_array(np.float32(-1).reshape(()), "tiny_minus_one"))
            result = "tiny_not_a_number"
        case Fault.ZERO:
            result = _scaled(nodes, constants, 0.0)
        case Fault.CONSTANT:
            nodes.append(helper.make_node("Add", [_scaled(nodes, constants, 0.0), "tiny_bias"], ["tiny_constant"]))
            result = "tiny_constant"
        case Fault.OVERFLOW:
            result = _scaled(nodes, constants, 1e6)
        case Fault.UNKNOWN_OPERATOR:
            nodes.append(helper.make_node("Imaginary", ["tiny_vector"], ["tiny_imagined"], domain="example.invalid"))
            domains.append(helper.make_opsetid("example.invalid", 1))
            result = "tiny_imagined"
    nodes.append(helper.make_node("Cast", [result], [output_name], to=output_dtype.value))
    outputs = [helper.make_tensor_value_info(output_name, output_dtype.value, [batch, dimension])]
    if extra_output is not None:
        nodes.append(helper.make_node("Identity", ["tiny_features"], [extra_output]))
        outputs.append(helper.make_tensor_value_info(extra_output, TensorProto.FLOAT, [batch, features]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, input_dtype.value, [batch, 3, image_size, image_size])],
        outputs,
        initializer=constants,
    )
    model = helper.make_model(
        graph, opset_imports=domains, ir_version=IR_VERSION, producer_name="clipmodel-tests", doc_string=note
    )
    helper.set_model_props(model, {"clipmodel.weights": f"tiny seed={seed}"})
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def write_tiny_onnx(path: Path, **options: Unpack[TinyOptions]) -> TinyOnnx:
    """Write the model to `path`, whose parents are made, and say its digest and size."""
    content = build_tiny_onnx(**options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return TinyOnnx(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def _weights(seed: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Uniform weights in [-1, 1), the same for ever for one seed and shape."""
    drawn = hashlib.shake_128(f"clipmodel-tiny/{seed}/{rows}x{columns}".encode()).digest(rows * columns)
    centred = np.frombuffer(drawn, dtype=np.uint8).astype(np.float32) - np.float32(128)
    return (centred / np.float32(128)).reshape(rows, columns)


def _scaled(nodes: list[onnx.NodeProto], constants: list[TensorProto], factor: float) -> str:
    """Append `vector` times `factor`; return the name of the product."""
    constants.append(numpy_helper.from_array(np.float32(factor).reshape(()), "tiny_factor"))
    nodes.append(helper.make_node("Mul", ["tiny_vector", "tiny_factor"], ["tiny_scaled"]))
    return "tiny_scaled"
