"""A file that is not the model that was promised is refused, and the message names what was found and expected."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.tensors import Tensors
from clipmodel_sync.checks.inspection import inspect
from clipmodel_sync.checks.proof import golden_images, prove
from clipmodel_sync.errors import SyncError
from support.tiny_onnx import Dtype, Fault, TinyOptions, build_tiny_onnx

from .conftest import DIMENSION, SIZE, Place

TENSORS = Tensors(input_name="image", image_size=SIZE, output_name="embedding", dimension=DIMENSION)


def tiny(**options: Any) -> bytes:
    chosen: TinyOptions = {"image_size": SIZE, "dimension": DIMENSION, **options}  # type: ignore[typeddict-item]
    return build_tiny_onnx(**chosen)


def edited(**options: Any) -> onnx.ModelProto:
    return onnx.load_from_string(tiny(**options))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"<html>Sign in</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\xff" * 5000],
    ids=["empty", "zero", "html", "git-lfs", "noise"],
)
def test_what_is_not_onnx(place: Place, content: bytes) -> None:
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.NOT_ONNX
    assert str(place.root) not in message
    assert not place.layout.version_directory.exists()


def test_half_a_model_is_not_onnx(place: Place, model: bytes) -> None:
    half = model[: len(model) // 2]
    assert place.fail(place.put(half), half)[0] is SyncReason.NOT_ONNX


def test_a_graph_that_the_checker_rejects(place: Place) -> None:
    model = edited()
    model.graph.node[1].input[0] = "nowhere"
    content = model.SerializeToString()
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.NOT_ONNX
    assert "nowhere" in message


def test_weights_in_another_file(place: Place) -> None:
    model = edited()
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
            tensor.ClearField("raw_data")
    content = model.SerializeToString()
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.NOT_ONNX
    assert "single file" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_name": "pixel_values"}, ["no input 'image'", "'pixel_values'"]),
        ({"output_name": "features_out"}, ["no output 'embedding'", "'features_out'"]),
        ({"image_size": 32}, ["[batch, 3, 32, 32]", "[batch, 3, 16, 16]"]),
        ({"dimension": 9}, ["[batch, 9]", "[batch, 8]"]),
        ({"input_dtype": Dtype.UINT8}, ["UINT8", "FLOAT"]),
        ({"input_dtype": Dtype.FP16}, ["FLOAT16"]),
        ({"output_dtype": Dtype.FP64}, ["DOUBLE", "FLOAT"]),
        ({"batch": 1}, ["[1, 3, 16, 16]", "batch of any size"]),
    ],
)
def test_other_tensors(place: Place, options: dict[str, Any], words: list[str]) -> None:
    content = tiny(**options)
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.SIGNATURE_MISMATCH
    for word in words:
        assert word in message
    assert len(message) <= 256


def test_a_second_input(place: Place) -> None:
    model = edited()
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["batch"]))
    content = model.SerializeToString()
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.SIGNATURE_MISMATCH
    assert "'image', 'mask'" in message


def test_a_second_output_is_nobodys_concern(place: Place) -> None:
    content = tiny(extra_output="grid")
    assert place.sync(place.put(content), content)["result"] == "Synced"


def test_open_dimensions_are_settled_by_the_proof(place: Place) -> None:
    model = edited()
    for value in [*model.graph.input, *model.graph.output]:
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_param = f"{value.name}_{index}"
    content = model.SerializeToString()
    report = place.sync(place.put(content), content)
    assert report["signature"]["output"]["shape"] == [-1, DIMENSION]


def test_an_open_dimension_that_turns_out_wrong(place: Place) -> None:
    model = edited(dimension=9)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "width"
    content = model.SerializeToString()
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.PROOF_FAILED
    assert "[1, 9], expected [1, 8]" in message


FAULTS = {
    Fault.BATCH_DEPENDENT: "depends on the others in its batch",
    Fault.NAN: "not finite",
    Fault.ZERO: "all zero",
    Fault.CONSTANT: "two different pictures",
    Fault.OVERFLOW: "float16",
    Fault.UNKNOWN_OPERATOR: "cannot load",
}


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE], ids=lambda fault: fault.name)
def test_a_model_that_does_not_embed(place: Place, fault: Fault) -> None:
    content = tiny(fault=fault)
    reason, message = place.fail(place.put(content), content)
    assert reason is SyncReason.PROOF_FAILED
    assert FAULTS[fault] in message
    assert str(place.root) not in message
    assert not place.layout.version_directory.exists()


def test_an_embedding_too_small_for_float16(tmp_path: Path) -> None:
    model = edited()
    for tensor in model.graph.initializer:
        if tensor.dims:  # the weights and the bias
            array = onnx.numpy_helper.to_array(tensor) * np.float32(1e-8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SyncError, match="too small for float16"):
        prove(path, TENSORS)


def test_the_proof_is_onnx_runtimes_embedding(tmp_path: Path, model: bytes) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    inspect(path, TENSORS)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [expected] = session.run(["embedding"], {"image": golden_images(SIZE)})
    np.testing.assert_allclose(prove(path, TENSORS), expected, rtol=0, atol=1e-6)
