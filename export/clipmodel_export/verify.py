"""Does the file keep its promises? Each check is a line of the table that `--test` prints.

It reads the file that was written, not the objects it was made of. The reference is PyTorch with the
normalisation computed apart, so that a mistake in the graph cannot hide in both. An empty list of checks
fails.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clipmodel_contract.tensors import Tensors
from clipmodel_export.errors import VerificationError
from clipmodel_export.golden import render_golden_images
from clipmodel_export.model import CheckResult, shape_in_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

# 1 is a single request, 2 what was traced, 5 no power of two, 32 the largest batch of the default config.
BATCHES = (1, 2, 5, 32)
# Of the largest value in the reference. Measured on ViT-B-32: 2e-6. ONNX Runtime and PyTorch add up in
# different orders, and so do processors; a wrong mean or activation is off by 1e-2 and more.
TOLERANCE = 1e-4
# Two unlike pictures: above this a tower ignores its input (ViT-B-32: 0.94 with random weights).
MOST_ALIKE = 0.9999
# A tower that ends in an L2 normalisation has all norms at 1 to seven digits.
NORM_IS_ONE = 1e-3
IN_TOTAL = 5 + len(BATCHES)


class Reference(Protocol):
    """What the file is compared with: the tower in PyTorch."""

    @property
    def tensors(self) -> Tensors: ...

    def embed(self, images: "Vectors") -> "Vectors": ...


def verify_model(path: Path, reference: Reference, *, advance: Callable[[], None] = lambda: None) -> list[CheckResult]:
    """Run every check, in an order in which a broken file stops what would need it."""
    results: list[CheckResult] = []
    for result in _run_checks(path, reference):
        results.append(result)
        advance()
    return results


def require_passed(results: Sequence[CheckResult]) -> None:
    """Fail closed.

    Raises:
        VerificationError: a check failed, or none ran.

    """
    failed = [result for result in results if not result.passed]
    if failed or not results:
        what = "; ".join(f"{result.name}: {result.found}" for result in failed) or "no check ran"
        raise VerificationError(
            f"The exported model does not keep its promises ({what}). It was not put in place.",
            advice="Try the versions of torch, onnx and onnxruntime that requirements/ pins; if it stays, "
            "report it with the table above.",
        )


def check_tensors(proto: Any, tensors: Tensors) -> CheckResult:
    """Exactly one input and one output, with our names, FP32, a free batch and nothing else free."""
    import onnx

    def describe(values: Any) -> str:
        return ", ".join(
            f"{value.name} {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)}"
            f"[{','.join(_name_dimension(d) for d in value.type.tensor_type.shape.dim)}]"
            for value in values
        )

    weights = {initializer.name for initializer in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    found = f"{describe(inputs)} -> {describe(proto.graph.output)}"
    wanted = (
        f"{tensors.input_name} FLOAT[{','.join(map(str, shape_in_file(tensors.input_shape)))}] -> "
        f"{tensors.output_name} FLOAT[{','.join(map(str, shape_in_file(tensors.output_shape)))}]"
    )
    return CheckResult("inputs and outputs", found == wanted, found, wanted)


def check_parity(batch: int, found: "Vectors", reference: "Vectors") -> CheckResult:
    """The same numbers as PyTorch, relative to the largest of them."""
    import numpy as np

    name, wanted = f"PyTorch, batch {batch}", f"difference <= {TOLERANCE:.0e} of the largest value"
    if found.shape != reference.shape:
        return CheckResult(name, passed=False, found=f"shape {found.shape}", wanted=f"shape {reference.shape}")
    if not np.isfinite(found).all():
        return CheckResult(name, passed=False, found="values that are not finite", wanted=wanted)
    largest = float(np.abs(reference).max())
    difference = float(np.abs(found - reference).max()) / largest if largest else float("inf")
    return CheckResult(name, difference <= TOLERANCE, f"{difference:.1e}", wanted)


def check_batch_independence(alone: "Vectors", together: "Vectors") -> CheckResult:
    """A picture's embedding does not depend on its neighbours."""
    import numpy as np

    largest = float(np.abs(alone).max())
    difference = float(np.abs(alone - together).max()) / largest if largest else float("inf")
    return CheckResult(
        "independent of the batch",
        difference <= TOLERANCE,
        f"{difference:.1e}",
        f"difference <= {TOLERANCE:.0e} of the largest value",
    )


def check_unlike(vectors: "Vectors") -> CheckResult:
    """Unlike pictures have unlike embeddings, every one of them finite and not zero."""
    import numpy as np

    name, wanted = "unlike pictures", f"cosine <= {MOST_ALIKE}"
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not (np.isfinite(norms).all() and norms.min() > 0):
        return CheckResult(name, passed=False, found="not finite, or all zero", wanted=wanted)
    directions = vectors / norms[:, None]
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -1)
    return CheckResult(name, bool(cosines.max() <= MOST_ALIKE), f"cosine {cosines.max():.4f} at most", wanted)


def check_not_normalised(vectors: "Vectors") -> CheckResult:
    """The contract's embedding keeps its length; clients normalise."""
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1)
    return CheckResult(
        "not L2-normalised",
        bool(np.abs(norms - 1).max() > NORM_IS_ONE),
        f"norms {norms.min():.3f} to {norms.max():.3f}",
        "norms other than 1",
    )


def _run_checks(path: Path, reference: Reference) -> Iterator[CheckResult]:
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        yield CheckResult("ONNX checker", passed=False, found=str(error).splitlines()[0][:200], wanted="no complaint")
        return
    proto = onnx.load(str(path), load_external_data=False)
    outside = [t.name for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    opset = ", ".join(str(entry.version) for entry in proto.opset_import if not entry.domain)
    yield CheckResult(
        "ONNX checker",
        not outside,
        f"opset {opset}, {len(outside)} weights in other files" if outside else f"opset {opset}, one file",
        "no complaint, one file",
    )
    signature = check_tensors(proto, reference.tensors)
    yield signature
    del proto
    if not signature.passed:
        return
    tensors = reference.tensors
    images = render_golden_images(max(BATCHES), size=tensors.image_size)
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its complaint comes back as an exception anyway
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        by_batch: dict[int, Vectors] = {
            batch: session.run([tensors.output_name], {tensors.input_name: images[:batch]})[0] for batch in BATCHES
        }
    except Exception as error:  # noqa: BLE001 - its exceptions have no base class of their own
        found = " ".join(str(error).split())[:200]
        yield CheckResult("ONNX Runtime", passed=False, found=found, wanted="loads and runs")
        return
    for batch in BATCHES:
        yield check_parity(batch, by_batch[batch], reference.embed(images[:batch]))
    yield check_batch_independence(by_batch[min(BATCHES)], by_batch[max(BATCHES)][: min(BATCHES)])
    yield check_unlike(by_batch[max(BATCHES)])
    yield check_not_normalised(by_batch[max(BATCHES)])


def _name_dimension(dimension: Any) -> str:
    return str(dimension.dim_param or dimension.dim_value)
