"""The order of an export: look, load, resolve, build, convert, write aside, verify, put in place.

What can be refused is refused early: nobody waits for a download to hear that the output exists.
"""

import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from clipmodel_contract.model_metadata import ARCHITECTURE_KEY, WEIGHTS_KEY
from clipmodel_export.errors import MissingExtraError, OutputError
from clipmodel_export.model import (
    CheckpointFile,
    CheckResult,
    Exported,
    ExportRequest,
    RandomWeights,
    render_metadata,
    render_origin,
)
from clipmodel_export.weights import require_file, resolve_weights
from clipmodel_export.writing import commit, compute_sha256, output_exists, staged


class Reporter(Protocol):
    """Where an export says what it does."""

    def step(self, title: str, *, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Show a step while it runs; what is yielded takes how much of `total` was done."""

    def step_with_own_bar(self, title: str) -> AbstractContextManager[None]:
        """Show a step in which a library draws a progress bar itself."""

    def note(self, text: str) -> None:
        """Say something worth knowing."""

    def show_checks(self, results: Sequence[CheckResult]) -> None:
        """Show the table of `--test`."""


def run_export(request: ExportRequest, reporter: Reporter) -> Exported:
    """Make the file, or find it made already.

    Raises:
        ExportError: of the kind that says what the user does next.

    """
    _refuse_early(request)
    with reporter.step("Loading PyTorch and OpenCLIP"):
        _require_libraries(request)
        from clipmodel_export.convert import convert_tower
        from clipmodel_export.tower import load_tower
        from clipmodel_export.verify import IN_TOTAL, require_passed, verify_model

    if isinstance(request.weights, RandomWeights):
        resolved = resolve_weights(request)
    else:
        with reporter.step_with_own_bar(f"Finding the weights ({render_origin(request.weights)})"):
            resolved = resolve_weights(request)
    reporter.note(f"Activation: {resolved.activation.name}, because {resolved.activation.because}.")
    with reporter.step(f"Building {request.architecture}"):
        tower = load_tower(request.architecture, request.weights, resolved)
    metadata = render_metadata(
        architecture=request.architecture,
        weights=request.weights,
        quick_gelu=tower.quick_gelu,
        tensors=tower.tensors,
        checkpoint_sha256=resolved.checkpoint_sha256,
    )
    with reporter.step("Converting to ONNX"):
        content = convert_tower(tower, metadata)
    checks: list[CheckResult] = []
    with ExitStack() as stack:
        with reporter.step("Writing", total=len(content)) as wrote:
            candidate = stack.enter_context(staged(content, request.output, advance=wrote))
        del content  # 350 MB that the verification can use
        if request.test:
            with reporter.step("Verifying", total=IN_TOTAL) as checked:
                checks = verify_model(candidate.path, tower, advance=lambda: checked(1))
            reporter.show_checks(checks)
            require_passed(checks)
        unchanged = not request.force and request.output.exists()
        if unchanged and compute_sha256(request.output) != candidate.sha256:
            raise output_exists(request.output, "it holds other bytes than this export made")
        if not unchanged:
            commit(candidate, request.output, force=request.force)
    return Exported(
        path=request.output,
        sha256=candidate.sha256,
        size_bytes=candidate.size_bytes,
        tensors=tower.tensors,
        metadata=metadata,
        parameters=tower.parameters,
        activation="QuickGELU" if tower.quick_gelu else "GELU",
        unchanged=unchanged,
        checks=tuple(checks),
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the libraries' log lines and warnings off the screen: what matters in them, we say ourselves."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _refuse_early(request: ExportRequest) -> None:
    """Refuse now what would be refused in the end."""
    if isinstance(request.weights, CheckpointFile):
        require_file(request.weights.path)
    output = request.output
    if output.is_dir():
        raise OutputError(f"{output} is a folder.", advice=f"Name the file too: --output {output / 'model.onnx'}")
    existing_parent = next(parent for parent in output.absolute().parents if parent.exists())
    if not (existing_parent.is_dir() and os.access(existing_parent, os.W_OK | os.X_OK)):
        raise OutputError(
            f"{output} cannot be written: {existing_parent} is no folder that you can write.",
            advice="Name a place that you can write with --output.",
        )
    if not output.exists() or request.force:
        return
    found = _read_metadata(output)
    wanted = {ARCHITECTURE_KEY: request.architecture, WEIGHTS_KEY: render_origin(request.weights)}
    for key, value in wanted.items():
        if found.get(key) != value:
            what = f"{key}={found[key]}" if key in found else f"no {key}: this exporter did not make it"
            raise output_exists(output, f"it is another model ({what}; wanted {value})")


def _read_metadata(path: Path) -> Mapping[str, str]:
    onnx = _import("onnx")
    not_protobuf = _import("google.protobuf.message").DecodeError

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (not_protobuf, OSError) as error:
        raise output_exists(path, "it is no ONNX file that can be read") from error
    return {entry.key: entry.value for entry in proto.metadata_props}


def _require_libraries(request: ExportRequest) -> None:
    for library in ("torch", "open_clip", "onnx", "onnxscript", *(["onnxruntime"] if request.test else [])):
        _import(library)


def _import(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except (ImportError, OSError) as error:  # OSError: a shared library of torch is missing
        raise MissingExtraError(library, str(error)) from error
