"""The operator's process: what it needs at its start, and the loops that keep it running."""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import dataclass
from typing import Any

from clipmodel_operator.app.operator import Operator, build_operator
from clipmodel_operator.app.watches import run_watches
from clipmodel_operator.clients.cluster import Cluster, connect
from clipmodel_operator.clients.root_key import ensure_root_key
from clipmodel_operator.clients.triton import TritonClient, open_session
from clipmodel_operator.models.errors import GoneError, RejectedError, RetryError
from clipmodel_operator.models.resources import CLIP_MODELS
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.runtime.backoff import Backoff

logger = logging.getLogger(__name__)

# Passes wait for the network, not for the processor: a few at once keep one slow pod from holding up the others.
_WORKERS = 8
# Repairs a DELETED event that was lost, and looks at every ClipModel even if nothing was heard.
_SWEEP_S = 600.0


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """What the command line says."""

    operator_namespace: str
    namespaces: tuple[str, ...]
    """Namespaces to serve; none means all of them."""
    render: RenderSettings
    liveness: str | None = None
    kubeconfig: str | None = None


def _tune_collector() -> None:
    """Look for cycles of garbage less often, and never again in what was there from the start.

    Every answer and event is thousands of new dicts and lists, of which hardly any is in a cycle: Python's own threshold, 700, has a tenth of
    the processor time go into looking (bench scale).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _retry_until_done(attempt: Any, what: str) -> Any:
    """Repeat what the start needs until it succeeds: the CRD or the role may be applied after the operator."""
    backoff = Backoff(limit_s=15.0)
    while True:
        try:
            return await attempt()
        except (GoneError, RetryError, RejectedError) as error:
            delay = backoff.next_delay_s(what)
            logger.warning("%s: %s. Trying again in %.0f s.", what, error, delay)
            await asyncio.sleep(delay)


async def _sweep(operator: Operator, cluster: Cluster, namespaces: tuple[str, ...]) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        try:
            await operator.list_all(cluster, namespaces)
        except (GoneError, RetryError, RejectedError) as error:
            logger.warning("sweep: %s", error)


async def run_operator(options: OperatorOptions) -> None:
    """Run until the process is asked to end."""
    cluster = await connect(kubeconfig=options.kubeconfig)
    try:
        async with open_session() as session:
            root_key = await _retry_until_done(
                lambda: ensure_root_key(cluster, options.operator_namespace), "reading the root key"
            )
            operator = build_operator(cluster, TritonClient(session), root_key=root_key, render=options.render)
            await _retry_until_done(
                lambda: operator.list_all(cluster, options.namespaces), "listing (are CRD and role applied?)"
            )
            served = ", ".join(options.namespaces) or "all"
            logger.info(
                "caches are filled: %d ClipModels; namespaces: %s", len(operator.cache.all(CLIP_MODELS.kind)), served
            )
            _tune_collector()
            await _run_until_watches_end(operator, cluster, options)
    finally:
        await cluster.close()


async def _run_until_watches_end(operator: Operator, cluster: Cluster, options: OperatorOptions) -> None:
    """Run watches, workers and sweep together: if one of them fails, the process ends and Kubernetes starts it anew."""
    loops = [operator.work() for _ in range(_WORKERS)] + [_sweep(operator, cluster, options.namespaces)]
    tasks = [asyncio.create_task(loop) for loop in loops]
    watches = asyncio.create_task(run_watches(operator, namespaces=options.namespaces, liveness=options.liveness))
    try:
        done, _ = await asyncio.wait([watches, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (watches, *tasks):
            task.cancel()
        await operator.steps.cancel_all()
        await asyncio.gather(watches, *tasks, return_exceptions=True)
