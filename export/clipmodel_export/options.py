"""What `clipmodel export` can be asked: its options, with their help."""

from pathlib import Path
from typing import Annotated

import typer

from clipmodel_export.model import DEFAULT_PRETRAINED

# torch.manual_seed would take 64 bits; 32 are enough, and the same on every platform.
LARGEST_SEED = 2**32 - 1

Output = Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Where the ONNX file goes.")]

# Which model.
Architecture = Annotated[
    str, typer.Option("--architecture", metavar="NAME", help="OpenCLIP architecture; its image tower is exported.")
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="TAG|FILE",
        show_default=DEFAULT_PRETRAINED,
        help="Weights: one of OpenCLIP's tags, or a checkpoint file.",
    ),
]
RandomChoice = Annotated[
    bool, typer.Option("--random-weights", help="No weights: a model of the right shape for demos and tests.")
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        max=LARGEST_SEED,
        show_default="0",
        help="With --random-weights: the same seed, the same model.",
    ),
]
QuickGelu = Annotated[
    bool | None,
    typer.Option(
        "--quickgelu/--no-quickgelu",
        show_default="what the tag or the file's name says",
        help="Activation that a checkpoint file was trained with.",
    ),
]

# What is done with it, and what is printed.
Test = Annotated[
    bool, typer.Option("--test", help="Verify before putting the file in place: ONNX checker, contract, PyTorch.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace another file at --output.")]
NextStep = Annotated[bool, typer.Option("--next-step/--no-next-step", help="Print the ClipModel to apply next.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the libraries' own messages.")]
