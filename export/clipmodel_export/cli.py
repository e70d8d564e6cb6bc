"""Arguments and exit codes of the exporter; nothing else. Importing this module loads no heavy library.

`clipmodel export` is `export` below, mounted; `python -m clipmodel_export` is the same command on its own.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

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

# torch.manual_seed takes 64 bits; more than anyone needs, and the same on every platform.
LARGEST_SEED = 2**32 - 1

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command("export")
def export(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Where the ONNX file goes.")
    ] = DEFAULT_OUTPUT,
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="OpenCLIP architecture; its image tower is exported.")
    ] = DEFAULT_ARCHITECTURE,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="TAG|FILE",
            show_default=DEFAULT_PRETRAINED,
            help="Weights: one of OpenCLIP's tags, or a checkpoint file.",
        ),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="No weights: a model of the right shape for demos and tests."),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=LARGEST_SEED,
            show_default="0",
            help="With --random-weights: the same seed, the same model.",
        ),
    ] = None,
    quick_gelu: Annotated[
        bool | None,
        typer.Option(
            "--quickgelu/--no-quickgelu",
            show_default="what the tag or the file's name says",
            help="Activation that a checkpoint file was trained with.",
        ),
    ] = None,
    test: Annotated[
        bool,
        typer.Option("--test", help="Verify before putting the file in place: ONNX checker, contract, PyTorch."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another file at --output.")] = False,
    next_step: Annotated[
        bool, typer.Option("--next-step/--no-next-step", help="Print the ClipModel to apply next.")
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the libraries' own messages.")] = False,
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
