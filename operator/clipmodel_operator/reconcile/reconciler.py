"""One level-triggered pass over a ClipModel: gather, plan, apply, prune, verify, assess, report.

Whatever happened since the last pass, and however far that one came, this one looks at what is and does what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clipmodel_operator.assessment.pods import is_running
from clipmodel_operator.assessment.status import assess_status, blocked_by
from clipmodel_operator.assessment.sync import SyncAssessment
from clipmodel_operator.models import reasons
from clipmodel_operator.models.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.models.errors import GoneError, RetryError, StalledError
from clipmodel_operator.models.facts import Observed, PassResult, PodCheck
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.resources import CLIP_MODELS
from clipmodel_operator.reconcile.apply import ObjectStore, apply_desired, prune
from clipmodel_operator.reconcile.desired import plan_desired
from clipmodel_operator.reconcile.gather import gather
from clipmodel_operator.reconcile.report import StatusStore, subject_of, write_status
from clipmodel_operator.reconcile.verify import Verifier
from clipmodel_operator.rendering.control_key import derive_control_key
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.runtime.cache import ObjectCache
from clipmodel_operator.runtime.clock import Clock

logger = logging.getLogger(__name__)

# A pod that runs but does not answer, or answers wrongly, raises no event when that changes.
_RECHECK_S = 5.0


class Store(ObjectStore, StatusStore, Protocol):
    """All of the Kubernetes API that a pass uses."""


@dataclass(frozen=True, slots=True)
class Again:
    """When the key is to be looked at again without an event: after `delay_s`, or by the queue's backoff where it is None."""

    delay_s: float | None = None


@dataclass(slots=True)
class _Pass:
    """What a pass has found out so far; complete or not, status is made of it."""

    observed: Observed
    model: ClipModel | None = None
    sync: SyncAssessment | None = None
    checks: tuple[PodCheck, ...] = ()
    again: Again | None = None


class Reconciler:
    """Works on one key at a time; several keys may be worked on at once."""

    def __init__(
        self,
        *,
        store: Store,
        cache: ObjectCache,
        verifier: Verifier,
        settings: RenderSettings,
        root_key: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._cache = cache
        self._verifier = verifier
        self._settings = settings
        self._root_key = root_key
        self._clock = clock

    async def reconcile(self, key: Key) -> Again | None:
        """Bring one ClipModel nearer to its spec. Gives when to look again, if not at the next event."""
        obj = self._cache.get(CLIP_MODELS.kind, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            # Garbage collection removes the children, with or without us.
            if obj is not None:
                self._verifier.forget(obj["metadata"]["uid"])
            return None
        observed = gather(self._cache, key)
        # Until a pod is known to run on the committed config it counts as an earlier one: it may serve, but proves nothing.
        state = _Pass(observed, checks=tuple(PodCheck(pod=p, is_current=False) for p in observed.server_pods))
        blocked = None
        try:
            await self._advance(obj, state)
        except StalledError as error:
            blocked = blocked_by(error.reason, str(error), is_stalled=True)
        except RetryError as error:
            logger.warning("%s: %s", key, error)
            blocked = blocked_by(reasons.API_UNAVAILABLE, str(error), is_stalled=False)
            state.again = Again(error.retry_after_s)
        except GoneError as error:
            # The namespace, or the resource itself, went while we worked; if not, the next try will find out.
            logger.info("%s: %s", key, error)
            state.again = Again()
            return state.again
        except Exception:  # the one place where a bug of ours becomes a status
            logger.exception("%s: a bug in the operator", key)
            blocked = blocked_by(
                reasons.INTERNAL_ERROR, "The operator has a bug, see its log. It tries again.", is_stalled=False
            )
            state.again = Again()
        result = PassResult(observed=state.observed, checks=state.checks, blocked=blocked)
        return await self._report(obj, state, result)

    async def _advance(self, obj: Mapping[str, Any], state: _Pass) -> None:
        """Go as far as can be gone now."""
        model = state.model = parse_clip_model(obj)
        observed = state.observed
        control_key = derive_control_key(self._root_key, uid=model.uid)
        desired = plan_desired(model, observed, self._settings, control_key=control_key, now=self._clock.now())
        state.sync = desired.sync
        if desired.sync.retry_after_s is not None:
            state.again = Again(desired.sync.retry_after_s)
        await self._verify(model, state, desired.config_hash, desired.records)
        await apply_desired(self._store, self._cache, model, desired, observed)
        if await prune(self._store, self._cache, model, desired, observed):
            state.again = Again(0.0)

    async def _verify(self, model: ClipModel, state: _Pass, config_hash: str | None, records: tuple[Any, ...]) -> None:
        if config_hash is None:
            return
        pods = state.observed.server_pods
        state.checks = await self._verifier.check_pods(model, pods, records=records, committed_hash=config_hash)
        unproven = [
            c for c in state.checks if c.is_current and is_running(c.pod) and (c.result is None or c.result.difference)
        ]
        if unproven and state.again is None:
            state.again = Again(_RECHECK_S)

    async def _report(self, obj: Mapping[str, Any], state: _Pass, result: PassResult) -> Again | None:
        now = self._clock.now()
        status = assess_status(subject_of(obj, state.model), state.sync, result, now=now)
        try:
            written = await write_status(self._store, obj, status, now=now)
        except GoneError:
            return None
        except RetryError as error:
            logger.warning("status: %s", error)
            return state.again or Again(error.retry_after_s)
        if written is not None:
            # The cache must have what was written, or the next pass would write it again.
            self._cache.put(CLIP_MODELS.kind, written)
        return state.again
