"""`--test` finds every kind of wrong model, by the line of the table that is meant for it."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from clipmodel_contract.tensors import Tensors
from clipmodel_export.errors import ExitCode, VerificationError
from clipmodel_export.model import CheckResult
from clipmodel_export.verify import (
    BATCHES,
    IN_TOTAL,
    check_not_normalised,
    check_parity,
    check_unlike,
    require_passed,
    verify_model,
)
from support.tiny_onnx import Dtype, Fault, TinyOptions, build_tiny_onnx, write_tiny_onnx

Vectors = npt.NDArray[np.float32]
SIZE, DIMENSION = 28, 16


@dataclass(frozen=True)
class TinyReference:
    """Stands where PyTorch stands: the faultless tiny model, run on its own."""

    session: onnxruntime.InferenceSession
    tensors: Tensors

    def embed(self, images: Vectors) -> Vectors:
        result: Vectors = self.session.run(["embedding"], {"image": images})[0]
        return result


@pytest.fixture(scope="module")
def reference() -> TinyReference:
    return TinyReference(
        session=onnxruntime.InferenceSession(build_tiny_onnx(image_size=SIZE, dimension=DIMENSION)),
        tensors=Tensors(image_size=SIZE, dimension=DIMENSION),
    )


def verify(reference: TinyReference, path: Path, options: TinyOptions) -> dict[str, CheckResult]:
    merged: TinyOptions = {"image_size": SIZE, "dimension": DIMENSION, **options}
    write_tiny_onnx(path, **merged)
    return {result.name: result for result in verify_model(path, reference)}


def test_a_right_model_passes_every_check(reference: TinyReference, tmp_path: Path) -> None:
    steps: list[int] = []
    path = write_tiny_onnx(tmp_path / "model.onnx", image_size=SIZE, dimension=DIMENSION).path
    results = verify_model(path, reference, advance=lambda: steps.append(1))
    require_passed(results)
    assert len(results) == len(steps) == IN_TOTAL
    assert [result.name for result in results if result.name.startswith("PyTorch")] == [
        f"PyTorch, batch {batch}" for batch in (1, 2, 5, 32)
    ]


@pytest.mark.parametrize(
    ("options", "check"),
    [
        pytest.param({"input_name": "pixels"}, "inputs and outputs", id="another input name"),
        pytest.param({"output_name": "features"}, "inputs and outputs", id="another output name"),
        pytest.param({"image_size": 32}, "inputs and outputs", id="another image size"),
        pytest.param({"dimension": 17}, "inputs and outputs", id="another dimension"),
        pytest.param({"input_dtype": Dtype.FP16}, "inputs and outputs", id="another input type"),
        pytest.param({"output_dtype": Dtype.FP64}, "inputs and outputs", id="another output type"),
        pytest.param({"batch": 32}, "inputs and outputs", id="a fixed batch"),
        pytest.param({"extra_output": "more"}, "inputs and outputs", id="a second output"),
        pytest.param({"seed": 1}, "PyTorch, batch 1", id="other weights"),
        pytest.param({"fault": Fault.NAN}, "PyTorch, batch 1", id="NaN"),
        pytest.param({"fault": Fault.NAN}, "unlike pictures", id="NaN is not unlike"),
        pytest.param({"fault": Fault.ZERO}, "unlike pictures", id="zeros"),
        pytest.param({"fault": Fault.CONSTANT}, "unlike pictures", id="one vector for all"),
        pytest.param({"fault": Fault.BATCH_DEPENDENT}, "independent of the batch", id="batch-dependent"),
        pytest.param({"fault": Fault.UNKNOWN_OPERATOR}, "ONNX Runtime", id="cannot be loaded"),
    ],
)
def test_a_wrong_model_fails_its_check(
    reference: TinyReference, tmp_path: Path, options: TinyOptions, check: str
) -> None:
    results = verify(reference, tmp_path / "model.onnx", options)
    assert not results[check].passed
    with pytest.raises(VerificationError) as caught:
        require_passed(list(results.values()))
    assert check in str(caught.value)
    assert caught.value.exit_code == ExitCode.VERIFICATION_FAILED


def test_a_file_that_is_not_onnx_fails_the_checker(reference: TinyReference, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    (result,) = verify_model(path, reference)
    assert (result.name, result.passed) == ("ONNX checker", False)


def test_no_check_is_a_failure() -> None:
    with pytest.raises(VerificationError, match="no check ran"):
        require_passed([])


def test_parity_is_relative_to_the_largest_value() -> None:
    reference = np.array([[100.0, 0.0]], dtype=np.float32)
    assert check_parity(1, reference + np.float32(0.005), reference).passed
    assert not check_parity(1, reference + np.float32(0.02), reference).passed
    assert not check_parity(1, reference[:, :1], reference).passed
    zero = np.zeros((1, 2), dtype=np.float32)
    assert not check_parity(1, zero, zero).passed


def test_a_normalised_output_is_found() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert not check_not_normalised(vectors).passed
    assert check_not_normalised(vectors * 3).passed


def test_nearly_equal_vectors_are_not_unlike() -> None:
    vectors = np.array([[1, 0, 0], [1, 1e-3, 0], [0, 0, 1]], dtype=np.float32)
    assert not check_unlike(vectors).passed
    assert check_unlike(vectors[1:]).passed


def test_the_batches_are_those_of_the_issue() -> None:
    assert BATCHES == (1, 2, 5, 32)
