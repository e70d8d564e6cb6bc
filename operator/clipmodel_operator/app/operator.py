"""Cache, queue, backoff and reconciler, joined: the composition root, from which the program and its tests both build."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from clipmodel_operator.assessment.requeue import PassOutcome, plan_requeue, retry_after_s
from clipmodel_operator.clients.cluster import Cluster
from clipmodel_operator.models.names import MANAGED_SELECTOR, Key
from clipmodel_operator.models.ownership import owner_of
from clipmodel_operator.models.resources import CHILDREN, CLIP_MODELS, Resource
from clipmodel_operator.reconcile.fleet import Fleet
from clipmodel_operator.reconcile.reconciler import Reconciler, Store
from clipmodel_operator.reconcile.server_steps import Triton
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.runtime.backoff import Backoff
from clipmodel_operator.runtime.cache import ObjectCache
from clipmodel_operator.runtime.clock import Clock, SystemClock
from clipmodel_operator.runtime.queue import WorkQueue
from clipmodel_operator.runtime.steps import StepRunner

logger = logging.getLogger(__name__)


class Operator:
    """Cache, queue and reconciler, joined: the sink of all watch events, and the workers behind it."""

    def __init__(
        self,
        *,
        cache: ObjectCache,
        queue: WorkQueue[Key],
        reconciler: Reconciler,
        steps: StepRunner[Key],
        backoff: Backoff,
    ) -> None:
        self.cache = cache
        self.queue = queue
        self.reconciler = reconciler
        self.steps = steps
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
        if resource is CLIP_MODELS and known is not None and not deleted and self._is_own_write(known, slim):
            return
        for key in dict.fromkeys((before, owner)):
            if isinstance(key, Key):
                self.queue.add(key)

    def _is_own_write(self, known: Mapping[str, Any], obj: Mapping[str, Any]) -> bool:
        """Tell whether nothing is new of a ClipModel but the status that we wrote: a pass for that would void the backoff of the pass that wrote it."""

        def others(metadata: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in metadata.items() if k not in {"managedFields", "resourceVersion"}}

        return others(known["metadata"]) == others(obj["metadata"]) and self.reconciler.has_told(obj)

    async def work(self) -> None:
        """Reconcile keys, one after the other, for ever."""
        while True:
            key = await self.queue.get()
            try:
                outcome = await self.reconciler.reconcile(key)
                self.queue.hold(key, retry_after_s(outcome))
                delay_s = self.requeue_delay_s(key, outcome)
                if delay_s is not None:
                    self.queue.add_after(key, delay_s)
            except Exception:  # a bug of ours with one ClipModel must not end the work on all others
                logger.exception("%s: a bug in the operator; trying again", key)
                self.queue.add_after(key, self._backoff.next_delay_s(key))
            finally:
                self.queue.done(key)

    def requeue_delay_s(self, key: Key, outcome: PassOutcome) -> float | None:
        """Give the seconds until the next pass over the key, as its last one ended; None where an event is enough. A good pass resets its backoff."""
        backoff_s = 0.0
        if outcome.has_failed:
            backoff_s = self._backoff.next_delay_s(key)
        else:
            self._backoff.forget(key)
        return plan_requeue(outcome, backoff_s=backoff_s)

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


def build_operator(
    store: Store,
    triton: Triton,
    *,
    root_key: bytes,
    render: RenderSettings,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
) -> Operator:
    """Put an operator together. Tests give a clock and a jitter of their own; the program takes the machine's."""
    clock = clock or SystemClock()
    cache = ObjectCache(owner_of)
    queue: WorkQueue[Key] = WorkQueue()
    steps: StepRunner[Key] = StepRunner()
    fleet = Fleet(triton, steps, clock, queue.add)
    reconciler = Reconciler(store=store, cache=cache, fleet=fleet, settings=render, root_key=root_key, clock=clock)
    backoff = Backoff(jitter=jitter, now=clock.monotonic)
    return Operator(cache=cache, queue=queue, reconciler=reconciler, steps=steps, backoff=backoff)
