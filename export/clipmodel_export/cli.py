"""Exit codes and messages of the exporter; nothing else. Importing this module loads no heavy library.

`clipmodel export` is `export` below, mounted; `python -m clipmodel_export` is the same command on its own.
"""

import contextlib
import os
import sys
from pathlib import Path

import typer

from clipmodel_export import options
from clipmodel_export.console import RichReporter
from clipmodel_export.errors import ExportError, UsageError
from clipmodel_export.model import (
    DEFAULT_ARCHITECTURE,
    DEFAULT_OUTPUT,
    DEFAULT_PRETRAINED,
    ExportRequest,
    RandomWeights,
    Weights,
    parse_weights,
)
from clipmodel_export.pipeline import quiet_libraries, run_export

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("export")
def export(
    *,
    output: options.Output = DEFAULT_OUTPUT,
    architecture: options.Architecture = DEFAULT_ARCHITECTURE,
    pretrained: options.Pretrained = None,
    random_weights: options.RandomChoice = False,
    seed: options.Seed = None,
    quick_gelu: options.QuickGelu = None,
    test: options.Test = False,
    force: options.Force = False,
    next_step: options.NextStep = True,
    verbose: options.Verbose = False,
) -> None:
    """Export an OpenCLIP image tower to one ONNX file that Triton serves.

    Input `image`, FP32, batch x 3 x 224 x 224, RGB from 0 to 1: the normalisation is inside.
    Output `embedding`, FP32, batch x 512, not normalised.

    Exit codes: 0 made; 2 wrong usage; 10 a person must act; 11 trying again can help; 12 failed --test.
    """
    reporter = RichReporter()
    try:
        weights = _choose_weights(pretrained, random_weights=random_weights, seed=seed)
        if isinstance(weights, RandomWeights):
            reporter.show_random_warning(weights.seed)
        if not reporter.err.is_terminal:
            # Read by huggingface_hub when it is imported: its bars fill a log with thousands of lines.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        request = ExportRequest(
            architecture=architecture,
            weights=weights,
            output=output,
            quick_gelu=quick_gelu,
            test=test,
            force=force,
        )
        with contextlib.nullcontext() if verbose else quiet_libraries():
            exported = run_export(request, reporter)
    except ExportError as error:
        reporter.show_error(error)
        raise typer.Exit(error.exit_code) from None
    reporter.show_result(exported, next_step=next_step)


def main() -> None:
    """Run the command on its own."""
    app(prog_name=f"{Path(sys.executable).name} -m clipmodel_export")


def _choose_weights(pretrained: str | None, *, random_weights: bool, seed: int | None) -> Weights:
    if random_weights:
        if pretrained is not None:
            raise UsageError("--pretrained and --random-weights exclude each other.", advice="Give one of the two.")
        return RandomWeights(seed or 0)
    if seed is not None:
        raise UsageError(
            "--seed says nothing without --random-weights.",
            advice="Add --random-weights, or leave --seed out.",
        )
    return parse_weights(DEFAULT_PRETRAINED if pretrained is None else pretrained)
