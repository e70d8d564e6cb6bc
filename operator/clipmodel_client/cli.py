"""`clipmodel embed`: arguments, exit codes and messages; nothing else.

numpy, Pillow and tritonclient take about a second to import, so they come in where they are used: `clipmodel
--help` must not wait for them.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipmodel_client.errors import ClientError, ExitCode, MissingProgramError, UsageError
from clipmodel_client.kubectl import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clipmodel_client.embed import Embedder
    from clipmodel_client.report import Result


class Output(StrEnum):
    """What standard output carries."""

    TABLE = "table"
    JSON = "json"
    NPY = "npy"


class ProtocolName(StrEnum):
    """The names of `embed.Protocol`, here because options must not import it."""

    GRPC = "grpc"
    HTTP = "http"


_DEFAULT_MODEL = "openclip_vit_b32"
_MAX_BATCH = 32
_TIMEOUT_S = 30.0
_TOLERANCE = 1e-5


def embed(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Image files: JPEG, PNG, WebP, GIF, TIFF …")],
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="NAME", help="A ClipModel; reached by kubectl port-forward."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Its namespace (default: the context's).")
    ] = None,
    context: Annotated[str | None, typer.Option("--context", metavar="CTX", help="The kubeconfig context.")] = None,
    kubeconfig: Annotated[Path | None, typer.Option("--kubeconfig", metavar="F", help="The kubeconfig file.")] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="HOST:PORT", help="A Triton server's address, instead of --clip."),
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="How to speak to the server.")
    ] = ProtocolName.GRPC,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help=f"Triton's name of the model (default: the ClipModel's; with --url {_DEFAULT_MODEL}).",
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="MODEL.onnx", help="Run ONNX Runtime directly on this file and compare."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0.0, help="Largest absolute difference that --compare accepts."),
    ] = _TOLERANCE,
    output: Annotated[Output, typer.Option("--output", "-o", help="What standard output carries.")] = Output.TABLE,
    normalise: Annotated[
        bool, typer.Option("--normalise/--raw", help="Vectors of length 1, or as the model gives them.")
    ] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for each request.")
    ] = _TIMEOUT_S,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=_MAX_BATCH, help="Most images in one request.")
    ] = _MAX_BATCH,
) -> None:
    """Embed photographs with a model that Triton serves.

    Sends each PHOTO through a ClipModel's Service (by kubectl port-forward),
    or to a server's address, and shows each embedding's dimension, norm and
    first values, and how alike the photographs are.

    A ClipModel in the current context:
    ```
    clipmodel embed cat.jpg cup.jpg --clip openclip-vit-b32 -n demo
    ```

    A server on this machine, over HTTP:
    ```
    clipmodel embed cat.jpg --url localhost:8000 --protocol http
    ```

    Is what is served what is in the file?
    ```
    clipmodel embed cat.jpg --clip openclip-vit-b32 --compare model.onnx
    ```

    Vectors for a program, as the model gives them:
    ```
    clipmodel embed *.jpg --url localhost:8001 --raw -o npy > all.npy
    ```

    Exit codes: 0 done, 2 wrong usage, 3 nobody answers, 4 timeout, 5 no such ClipModel, Service or model,
    6 refused, 7 not a usable image, 8 not an embedding, 9 over the tolerance of --compare, 10 program missing.
    """
    try:
        target = _Target(
            clip=clip,
            cluster=Cluster(namespace=namespace, context=context, kubeconfig=kubeconfig),
            url=url,
            protocol=protocol,
            model=model,
        )
        if output is Output.NPY and sys.stdout.isatty():
            raise UsageError("--output npy is binary.", advice="Send it to a file: … --output npy > vectors.npy")
        result = _run(
            target=target,
            photos=photos,
            compare=compare,
            tolerance=tolerance,
            normalised=normalise,
            timeout_s=timeout,
            batch_size=batch_size,
        )
        _show(result, output)
    except ClientError as error:
        typer.echo(f"Error: {error}\n{error.advice}", err=True)
        raise typer.Exit(error.exit_code) from error
    if result.comparison and not result.comparison.passed:
        raise typer.Exit(ExitCode.OVER_TOLERANCE)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the model is: a ClipModel in a cluster, or a server's address."""

    clip: str | None
    cluster: Cluster
    url: str | None
    protocol: ProtocolName
    model: str | None

    def __post_init__(self) -> None:
        if (self.clip is None) == (self.url is None):
            found = "neither" if self.clip is None else "both"
            raise UsageError(
                f"Say where the model is, by --clip or by --url: {found} was given.",
                advice="--clip NAME -n NAMESPACE for a ClipModel, --url HOST:PORT for a Triton server.",
            )
        if self.url is not None and self.cluster != Cluster():
            raise UsageError(
                "--namespace, --context and --kubeconfig belong to --clip.",
                advice="Leave them out with --url.",
            )


def _run(
    *,
    target: "_Target",
    photos: list[Path],
    compare: Path | None,
    tolerance: float,
    normalised: bool,
    timeout_s: float,
    batch_size: int,
) -> "Result":
    """Embed, and compare where asked to."""
    try:
        import numpy as np
        import PIL  # noqa: F401 - here for one clear message about the extra
    except ImportError as error:
        raise MissingProgramError(
            f"The library {error.name} is not installed.", advice="pip install 'clipmodel-operator[client]'"
        ) from error
    from clipmodel_client import compare as comparing
    from clipmodel_client.embed import normalise
    from clipmodel_client.preprocess import load_all
    from clipmodel_client.report import Result

    # Before anything is sent: a wrong file name should not cost a port-forward.
    direct = comparing.DirectModel(compare) if compare else None
    served: list[NDArray[np.float32]] = []
    expected: list[NDArray[np.float32]] = []
    with _connect(target, timeout_s=timeout_s, batch_size=batch_size) as (embedder, batch):
        size = embedder.signature().image_size
        for start in range(0, len(photos), batch):  # never more than one batch of images in memory
            images = load_all(photos[start : start + batch], size=size)
            served.append(embedder.embed(images))
            if direct:
                expected.append(direct.embed(images))
        model = embedder.model
    raw = np.concatenate(served)
    comparison = None
    if direct:
        comparison = comparing.compare(
            raw, np.concatenate(expected), tolerance=tolerance, random_weights=direct.random_weights
        )
    return Result(
        photos=photos,
        model=model,
        raw=raw,
        shown=normalise(raw) if normalised else raw,
        normalised=normalised,
        comparison=comparison,
    )


@contextmanager
def _connect(target: "_Target", *, timeout_s: float, batch_size: int) -> "Iterator[tuple[Embedder, int]]":
    """Give a connection to the target, and the batch size that it takes."""
    from clipmodel_client import clipmodel, embed, portforward

    protocol = embed.Protocol(target.protocol)
    if target.url is not None:
        model = target.model or _DEFAULT_MODEL
        with embed.Embedder(
            target.url, model=model, protocol=protocol, timeout_s=timeout_s, max_batch=batch_size
        ) as embedder:
            yield embedder, batch_size
        return
    assert target.clip is not None  # noqa: S101 - _Target holds exactly one of the two
    served = clipmodel.get_served(target.cluster, target.clip)
    if served.not_ready:
        typer.echo(f"Warning: {target.clip} is not ready: {served.not_ready}", err=True)
    port = clipmodel.GRPC_PORT if protocol is embed.Protocol.GRPC else clipmodel.HTTP_PORT
    batch = min(batch_size, served.max_batch)
    with (
        portforward.port_forward(target.cluster, service=target.clip, port=port) as address,
        embed.Embedder(
            address,
            model=target.model or served.model,
            protocol=protocol,
            timeout_s=timeout_s,
            max_batch=batch,
        ) as embedder,
    ):
        yield embedder, batch


def _show(result: "Result", output: Output) -> None:
    """Write the result to standard output, and what people should know besides to standard error."""
    from rich.console import Console

    from clipmodel_client import report

    if output is Output.TABLE:
        report.print_table(result, Console(highlight=False))
        return
    if output is Output.JSON:
        typer.echo(report.format_json(result))
    else:
        sys.stdout.buffer.write(report.format_npy(result))
        sys.stdout.buffer.flush()
    if result.comparison:
        report.print_comparison(result.comparison, Console(highlight=False, stderr=True))
