"""What `clipmodel embed` can be asked: its options, with their help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clipmodel_client.embed import MAX_BATCH, Protocol

DEFAULT_MODEL = "openclip_vit_b32"


class Output(StrEnum):
    """What standard output carries."""

    TABLE = "table"
    JSON = "json"
    NPY = "npy"


Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Image files: JPEG, PNG, WebP, GIF, TIFF …")]

# Where the model is.
ClipName = Annotated[
    str | None, typer.Option("--clip", metavar="NAME", help="A ClipModel; reached by kubectl port-forward.")
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NS", help="Its namespace (default: the context's).")
]
Context = Annotated[str | None, typer.Option("--context", metavar="CTX", help="The kubeconfig context.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", metavar="F", help="The kubeconfig file.")]
Url = Annotated[
    str | None, typer.Option("--url", metavar="HOST:PORT", help="A Triton server's address, instead of --clip.")
]
SpokenProtocol = Annotated[Protocol, typer.Option("--protocol", help="How to speak to the server.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help=f"Triton's name of the model (default: the ClipModel's; with --url {DEFAULT_MODEL})."),
]

# How it is asked.
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each request.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=MAX_BATCH, help="Most images in one request.")]
ComparedFile = Annotated[
    Path | None,
    typer.Option("--compare", metavar="MODEL.onnx", help="Run ONNX Runtime directly on this file and compare."),
]
Tolerance = Annotated[
    float, typer.Option("--tolerance", min=0.0, help="Largest absolute difference that --compare accepts.")
]

# What is shown.
ShownOutput = Annotated[Output, typer.Option("--output", "-o", help="What standard output carries.")]
Normalise = Annotated[bool, typer.Option("--normalise/--raw", help="Vectors of length 1, or as the model gives them.")]
