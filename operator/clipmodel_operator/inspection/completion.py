"""What the shell offers after Tab: names of ClipModels and namespaces, from the cluster. Silence where it cannot be asked in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import typer

# Tab is pressed by people who are typing: better nothing than a wait.
_DEADLINE_S = 3.0


def _ask(context: typer.Context, choose: Callable[[Any], Iterable[str]], *, namespace: str | None) -> list[str]:
    from clipmodel_operator.clients.reader import Reader
    from clipmodel_operator.models.errors import ClipModelError
    from clipmodel_operator.models.resources import CLIP_MODELS

    # What the library has to say (no kubeconfig, say) would land in the line that is being typed.
    logging.getLogger("kubernetes").addHandler(logging.NullHandler())

    async def ask() -> list[str]:
        kubeconfig = context.params.get("kubeconfig")
        async with asyncio.timeout(_DEADLINE_S):
            reader = await Reader.connect(
                kubeconfig=str(kubeconfig) if kubeconfig else None, context=context.params.get("context")
            )
            try:
                clips = await reader.list(CLIP_MODELS, None if namespace == "" else namespace or reader.namespace)
            finally:
                await reader.close()
        return sorted({name for clip in clips for name in choose(clip)})

    try:
        return asyncio.run(ask())
    except (ClipModelError, TimeoutError):
        return []


def complete_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer ClipModels of the namespace."""
    found = _ask(ctx, lambda clip: [clip["metadata"]["name"]], namespace=ctx.params.get("namespace"))
    return [name for name in found if name.startswith(incomplete)]


def complete_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer namespaces that have a ClipModel: those that matter here, and listing namespaces is a right that few have."""
    found = _ask(ctx, lambda clip: [clip["metadata"]["namespace"]], namespace="")
    return [name for name in found if name.startswith(incomplete)]
