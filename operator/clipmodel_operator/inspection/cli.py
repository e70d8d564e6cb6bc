"""`clipmodel status` and `clipmodel diff`: arguments, messages and exit codes; nothing else."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipmodel_operator.inspection.codes import DiffCode, StatusCode
from clipmodel_operator.inspection.completion import complete_names, complete_namespaces
from clipmodel_operator.models.errors import ClipModelError

if TYPE_CHECKING:
    from clipmodel_operator.clients.reader import Reader

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NS",
        help="Namespace (default: the context's).",
        autocompletion=complete_namespaces,
    ),
]
Context = Annotated[str | None, typer.Option("--context", metavar="CTX", help="The kubeconfig context.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", metavar="F", help="The kubeconfig file.")]


class Output(StrEnum):
    """What standard output carries."""

    TEXT = "text"
    JSON = "json"


def status(
    name: Annotated[
        str | None,
        typer.Argument(help="A ClipModel; all of the namespace where none is named.", autocompletion=complete_names),
    ] = None,
    namespace: Namespace = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="ClipModels of every namespace.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it live, until Ctrl-C.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it live until it is Ready, or a person must act.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Stop following after so long.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="What standard output carries.")] = Output.TEXT,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what a ClipModel does: versions, revisions, conditions, pods, the progress of its sync, events.

    A revision is all that decides what servers answer. Shown are the one that pods have proven
    last, the one that the spec asks for, how far pods are on the way to it, which one each
    pod runs, and after a failure when it is tried next, and how to have it tried at once.

    Reads with your own rights (the role `view` is enough). With the right to get
    pods/proxy, which `edit` has, each pod's Triton is asked what it has loaded.

    ```
    clipmodel status                          # all of this namespace, as a list
    clipmodel status openclip-vit-b32 -w      # one in full, live
    clipmodel status openclip-vit-b32 --wait --timeout 900 && deploy-the-rest
    clipmodel status -A -o json               # for programs
    ```

    Where standard output is no terminal, -w and --wait print a line for each change.

    Exit codes: 0 Ready; 1 not Ready: it failed, or is scaled to zero; 3 on the way, or the operator has not
    seen the latest edit; 4 it could not be found out (no cluster, no such ClipModel, no right); 2 wrong usage.
    Of several ClipModels the worst counts: 1 before 3 before 0.
    """
    if all_namespaces and (name or namespace):
        raise typer.BadParameter("--all-namespaces goes with neither a name nor --namespace")
    if timeout is not None and not (watch or wait):
        raise typer.BadParameter("--timeout belongs to --watch or --wait")
    from clipmodel_operator.inspection.follow import Question, follow_status, show_status
    from clipmodel_operator.inspection.terminal import make_console

    async def ask(reader: Reader) -> int:
        where = None if all_namespaces else namespace or reader.namespace
        question = Question(where, name, as_json=output is Output.JSON)
        console = make_console(sys.stdout)
        if watch or wait:
            return await follow_status(reader, question, console, until_settled=wait and not watch, timeout_s=timeout)
        return await show_status(reader, question, console)

    raise typer.Exit(_run(ask, kubeconfig=kubeconfig, context=context, failed=StatusCode.UNKNOWN))


def diff(
    file: Annotated[
        Path,
        typer.Option("--file", "-f", help="YAML file with one ClipModel; - reads standard input.", allow_dash=True),
    ],
    namespace: Namespace = None,
    triton_image: Annotated[
        str | None,
        typer.Option(help="Triton image where the ClipModel names none (default: asked of the operator's Deployment)."),
    ] = None,
    sync_image: Annotated[
        str | None, typer.Option(help="Image of the sync Jobs (default: asked of the operator's Deployment).")
    ] = None,
    profile: Annotated[
        Literal["cpu", "gpu"] | None, typer.Option(help="For profile auto, where none has been chosen yet.")
    ] = None,
    operator_namespace: Annotated[
        str, typer.Option(metavar="NS", help="Where the operator runs.")
    ] = "clipmodel-system",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what the operator would change in the cluster for the ClipModel in a file.

    Renders it as this release of the operator does, and compares with the objects
    in the cluster, in the fields that are the operator's. Then it says which changes
    restart pods and which are taken over by running servers: which revision is proven,
    whether the edit makes another one, and whether that goes in place, by new pods, or is
    only verified (a tolerance). Nothing is written.
    For the ClipModel itself: `kubectl diff -f FILE`.

    ```
    clipmodel diff -f clip.yaml
    kubectl get clip tiny -o yaml | clipmodel diff -f -     # drift: what the operator would repair
    ```

    What is made in the cluster only (golden vectors of versions that are not synced
    yet, the control key) is named and not compared.

    Exit codes: 0 no difference; 1 differences; 2 wrong usage, or it could not be compared. Those of `kubectl diff`.
    """
    from clipmodel_operator.inspection.compare import Images, show_diff
    from clipmodel_operator.inspection.terminal import make_console
    from clipmodel_operator.offline import read_file

    async def ask(reader: Reader) -> int:
        images = Images(triton_image, sync_image)
        return await show_diff(
            reader,
            read_file(file),
            make_console(sys.stdout),
            namespace=namespace,
            context_namespace=reader.namespace,
            images=images,
            profile=profile,
            operator_namespace=operator_namespace,
        )

    raise typer.Exit(_run(ask, kubeconfig=kubeconfig, context=context, failed=DiffCode.FAILED))


def _run(ask: Callable[[Reader], Awaitable[int]], *, kubeconfig: Path | None, context: str | None, failed: int) -> int:
    """Connect, ask, and turn our errors into a message and the exit code `failed`."""
    import logging

    from clipmodel_operator.clients.reader import Reader

    # A failing credential plugin is told by the Kubernetes library in its log alone.
    logging.basicConfig(level=logging.ERROR, format="clipmodel: %(message)s")

    async def connected() -> int:
        reader = await Reader.connect(kubeconfig=str(kubeconfig) if kubeconfig else None, context=context)
        try:
            return await ask(reader)
        finally:
            await reader.close()

    try:
        return asyncio.run(connected())
    except ClipModelError as error:
        typer.secho(f"clipmodel: {error}", fg=typer.colors.RED, err=True)
        return failed
    except Exception:  # noqa: BLE001 - a bug of ours shows its traceback, but must not end in Python's own 1, which here is an answer
        traceback.print_exc()
        return failed
