"""`clipmodel embed`: exit codes and messages; nothing else."""

import sys

import typer

from clipmodel_client import options, report
from clipmodel_client.compare import TOLERANCE
from clipmodel_client.embed import DEFAULT_TIMEOUT_S, MAX_BATCH, Protocol
from clipmodel_client.errors import ClientError, ExitCode, UsageError
from clipmodel_client.kubectl import Cluster
from clipmodel_client.options import Output
from clipmodel_client.pipeline import EmbedRequest, run_embed
from clipmodel_client.target import Target


def embed(
    photos: options.Photos,
    clip: options.ClipName = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    url: options.Url = None,
    protocol: options.SpokenProtocol = Protocol.GRPC,
    model: options.ModelName = None,
    compare: options.ComparedFile = None,
    tolerance: options.Tolerance = TOLERANCE,
    output: options.ShownOutput = Output.TABLE,
    normalise: options.Normalise = True,
    timeout: options.Timeout = DEFAULT_TIMEOUT_S,
    batch_size: options.BatchSize = MAX_BATCH,
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
        cluster = Cluster(namespace=namespace, context=context, kubeconfig=kubeconfig)
        target = Target(clip=clip, cluster=cluster, url=url, protocol=protocol, model=model)
        if output is Output.NPY and sys.stdout.isatty():
            raise UsageError("--output npy is binary.", advice="Send it to a file: … --output npy > vectors.npy")
        request = EmbedRequest(
            target=target,
            photos=photos,
            compared_file=compare,
            tolerance=tolerance,
            normalised=normalise,
            timeout_s=timeout,
            batch_size=batch_size,
        )
        result = run_embed(request)
        _show(result, output)
    except ClientError as error:
        typer.echo(f"Error: {error}\n{error.advice}", err=True)
        raise typer.Exit(error.exit_code) from error
    if result.comparison and not result.comparison.passed:
        raise typer.Exit(ExitCode.OVER_TOLERANCE)


def _show(result: report.Result, output: Output) -> None:
    """Write the result to standard output, and what people should know besides to standard error."""
    from rich.console import Console

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
