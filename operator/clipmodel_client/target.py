"""Where the model is: a ClipModel in a cluster, or a server's address; and the connection to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from clipmodel_client import clipmodel
from clipmodel_client.embed import Embedder, Protocol
from clipmodel_client.errors import UsageError
from clipmodel_client.kubectl import Cluster
from clipmodel_client.options import DEFAULT_MODEL
from clipmodel_client.portforward import port_forward
from clipmodel_contract.ports import GRPC_PORT, HTTP_PORT


@dataclass(frozen=True, slots=True)
class Target:
    """A ClipModel (`clip`, in `cluster`) or a server (`url`), exactly one of the two.

    Raises:
        UsageError: the options name neither, or both.

    """

    clip: str | None
    cluster: Cluster
    url: str | None
    protocol: Protocol
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


@contextmanager
def connect(target: Target, *, timeout_s: float, batch_size: int) -> Iterator[tuple[Embedder, int]]:
    """Give a connection to the target, and the batch size that it takes: at most `batch_size`. Warns of a ClipModel that is not ready.

    Raises:
        ClientError: the target is not there, or nobody answers.

    """
    if target.url is not None:
        with Embedder(
            target.url,
            model=target.model or DEFAULT_MODEL,
            protocol=target.protocol,
            timeout_s=timeout_s,
            max_batch=batch_size,
        ) as embedder:
            yield embedder, batch_size
        return
    assert target.clip is not None  # noqa: S101 - a Target holds exactly one of the two
    served = clipmodel.get_served(target.cluster, target.clip)
    if served.not_ready:
        typer.echo(f"Warning: {target.clip} is not ready: {served.not_ready}", err=True)
    port = GRPC_PORT if target.protocol is Protocol.GRPC else HTTP_PORT
    batch = min(batch_size, served.max_batch)
    with (
        port_forward(target.cluster, service=target.clip, port=port) as address,
        Embedder(
            address,
            model=target.model or served.model,
            protocol=target.protocol,
            timeout_s=timeout_s,
            max_batch=batch,
        ) as embedder,
    ):
        yield embedder, batch
