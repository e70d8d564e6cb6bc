"""The composition root: the one place that constructs things and hands them down, and the loops that keep them running."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from clipmodel_operator.clients.cluster import Cluster, connect
from clipmodel_operator.clients.root_key import ensure_root_key
from clipmodel_operator.clients.triton import TritonClient
from clipmodel_operator.handlers.watch import run_watches
from clipmodel_operator.models.errors import GoneError, RejectedError, RetryError
from clipmodel_operator.models.names import MANAGED_SELECTOR, Key
from clipmodel_operator.models.resources import CHILDREN, CLIP_MODELS, Resource
from clipmodel_operator.reconcile.gather import owner_of
from clipmodel_operator.reconcile.reconciler import Reconciler
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.runtime.backoff import Backoff
from clipmodel_operator.runtime.cache import ObjectCache
from clipmodel_operator.runtime.clock import SystemClock
from clipmodel_operator.runtime.queue import WorkQueue

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


class Operator:
    """Cache, queue and reconciler, joined: the sink of all watch events, and the workers behind it."""

    def __init__(self, *, cache: ObjectCache, queue: WorkQueue[Key], reconciler: Reconciler, backoff: Backoff) -> None:
        self.cache = cache
        self.queue = queue
        self._reconciler = reconciler
        self._backoff = backoff

    def observe(self, resource: Resource, obj: Mapping[str, Any], *, deleted: bool) -> None:
        """Take in a watch event."""
        # Managed fields are most of an object's size, and are never looked at.
        slim = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
        metadata = slim["metadata"]
        known = self.cache.get(resource.kind, metadata.get("namespace", ""), metadata["name"])
        # Whose it was hears of it too: somebody may have taken away the label that says so.
        before = owner_of(resource.kind, known) if known is not None else None
        owner = self.cache.remove(resource.kind, slim) if deleted else self.cache.put(resource.kind, slim)
        for key in dict.fromkeys((before, owner)):
            if isinstance(key, Key):
                self.queue.add(key)

    async def work(self) -> None:
        """Reconcile keys, one after the other, for ever."""
        while True:
            key = await self.queue.get()
            try:
                again = await self._reconciler.reconcile(key)
                if again is None:
                    self._backoff.forget(key)
                else:
                    delay = again.delay_s if again.delay_s is not None else self._backoff.next_delay_s(key)
                    self.queue.add_after(key, delay)
            except Exception:  # a bug of ours with one ClipModel must not end the work on all others
                logger.exception("%s: a bug in the operator; trying again", key)
                self.queue.add_after(key, self._backoff.next_delay_s(key))
            finally:
                self.queue.done(key)

    async def list_all(self, cluster: Cluster, namespaces: tuple[str, ...]) -> None:
        """Make the cache agree with the API server, and look at every ClipModel."""
        for resource in (*CHILDREN, CLIP_MODELS):
            selector = "" if resource is CLIP_MODELS else MANAGED_SELECTOR
            for namespace in namespaces or (None,):
                before = self.cache.names(resource.kind, namespace)
                listed = await cluster.list_objects(resource, namespace=namespace, label_selector=selector)
                for owner in self.cache.replace(resource.kind, listed, before=before):
                    if isinstance(owner, Key):
                        self.queue.add(owner)
        for obj in self.cache.all(CLIP_MODELS.kind):
            self.queue.add(Key(obj["metadata"]["namespace"], obj["metadata"]["name"]))


def build_operator(cluster: Cluster, triton: TritonClient, *, root_key: bytes, render: RenderSettings) -> Operator:
    """Put an operator together."""
    cache = ObjectCache(owner_of)
    reconciler = Reconciler(
        store=cluster, cache=cache, triton=triton, settings=render, root_key=root_key, clock=SystemClock()
    )
    return Operator(cache=cache, queue=WorkQueue(), reconciler=reconciler, backoff=Backoff())


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
        async with aiohttp.ClientSession() as session:
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
        await asyncio.gather(watches, *tasks, return_exceptions=True)
