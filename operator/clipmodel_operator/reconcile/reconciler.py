"""One level-triggered pass over a ClipModel: gather, look, plan, apply, prune, report, roll out.

Whatever happened since the last pass, and however far that one came, this one looks at what is and does what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from clipmodel_operator.assessment.events import Event, plan_rolling_event
from clipmodel_operator.assessment.pods import is_running, started_profile
from clipmodel_operator.assessment.status import assess_status, blocked_by
from clipmodel_operator.models import reasons
from clipmodel_operator.models.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.models.errors import GoneError, RejectedError, RetryError, StalledError
from clipmodel_operator.models.facts import Blocked, Observed, PodView, RolloutFailure
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.resources import CLAIMS, CLIP_MODELS
from clipmodel_operator.reconcile.apply import ObjectStore, apply_desired, prune
from clipmodel_operator.reconcile.desired import Desired, plan_desired, plan_versions, served_versions
from clipmodel_operator.reconcile.fleet import Fleet, Triton
from clipmodel_operator.reconcile.gather import gather
from clipmodel_operator.reconcile.profile import resolve_profile
from clipmodel_operator.reconcile.report import StatusStore, subject_of, write_event, write_status
from clipmodel_operator.reconcile.rollout import Rollout, Wanted
from clipmodel_operator.reconcile.view import view_of
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
    views: tuple[PodView, ...]
    model: ClipModel | None = None
    control_key: str = ""
    desired: Desired | None = None
    blocked: Blocked | None = None
    event: Event | None = None
    """What was done to the pods, beside what status tells."""
    again: Again | None = None


@dataclass(slots=True)
class _Failures:
    """Rollouts that failed, of one generation: the same is not tried again until the spec changes."""

    generation: int
    by_version: dict[int | None, RolloutFailure] = field(default_factory=dict)


class Reconciler:
    """Works on one key at a time; several keys may be worked on at once."""

    def __init__(
        self,
        *,
        store: Store,
        cache: ObjectCache,
        triton: Triton,
        settings: RenderSettings,
        root_key: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._cache = cache
        self._fleet = Fleet(triton)
        self._rollout = Rollout(triton, self._fleet)
        self._settings = settings
        self._root_key = root_key
        self._clock = clock
        self._failures: dict[str, _Failures] = {}
        self._refused_since: dict[str, datetime | None] = {}

    async def reconcile(self, key: Key) -> Again | None:
        """Bring one ClipModel nearer to its spec. Gives when to look again, if not at the next event."""
        obj = self._cache.get(CLIP_MODELS.kind, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            # Garbage collection removes the children, with or without us.
            if obj is not None:
                self._fleet.forget(obj["metadata"]["uid"])
                self._failures.pop(obj["metadata"]["uid"], None)
                self._refused_since.pop(obj["metadata"]["uid"], None)
            return None
        observed = gather(self._cache, key)
        # Until a pod has been asked nothing is known of it.
        state = _Pass(observed, views=tuple(PodView(p, started_profile(p)) for p in observed.server_pods))
        is_advanced = await self._guard(key, state, self._advance(obj, state))
        is_told = await self._report(obj, state)
        # Status first: what follows takes as long as a model takes to load.
        if is_advanced and is_told and state.desired is not None and state.desired.pending:
            state.again = Again(0.0)
            if not await self._guard(key, state, self._roll_out(state), silent=reasons.SERVER_FAILED):
                await self._report(self._cache.get(CLIP_MODELS.kind, key.namespace, key.name) or obj, state)
        return state.again

    async def _guard(
        self, key: Key, state: _Pass, work: Awaitable[None], *, silent: str = reasons.API_UNAVAILABLE
    ) -> bool:
        """Do a part of the pass, and turn what goes wrong into what status says. Gives whether all went well.

        `silent` is the reason that is said where somebody does not answer.
        """
        try:
            await work
            return True  # noqa: TRY300 - what follows is the list of what may go wrong
        except StalledError as error:
            state.blocked = blocked_by(error.reason, str(error), is_stalled=True)
            if error.look_again:
                state.again = Again()
        except RetryError as error:
            logger.warning("%s: %s", key, error)
            state.blocked = blocked_by(silent, str(error), is_stalled=False)
            state.again = Again(error.retry_after_s)
        except (GoneError, RejectedError) as error:
            # The namespace, or the resource itself, went while we worked; if not, the next try will find out.
            logger.info("%s: %s", key, error)
            state.blocked = blocked_by(reasons.API_UNAVAILABLE, str(error), is_stalled=False)
            state.again = Again()
        except Exception:  # the one place where a bug of ours becomes a status
            logger.exception("%s: a bug in the operator", key)
            message = "The operator has a bug, see its log. It tries again."
            state.blocked = blocked_by(reasons.INTERNAL_ERROR, message, is_stalled=False)
            state.again = Again()
        return False

    def _known_failures(self, model: ClipModel) -> dict[int | None, RolloutFailure]:
        known = self._failures.get(model.uid)
        if known is None or known.generation != model.generation:
            known = self._failures[model.uid] = _Failures(model.generation)
        return known.by_version

    async def _advance(self, obj: Mapping[str, Any], state: _Pass) -> None:
        """Go as far as can be gone now, without touching what runs."""
        model = state.model = await resolve_profile(self._store, parse_clip_model(obj), state.observed)
        observed, failures = state.observed, self._known_failures(model)
        state.control_key = derive_control_key(self._root_key, uid=model.uid)
        now = self._clock.now()
        versions = plan_versions(model, observed, self._settings, failures=failures, now=now)
        state.views = await self._fleet.look(
            model, observed.server_pods, records=versions.records, control_key=state.control_key
        )
        served = served_versions(model, state.views)
        if served and not versions.before.versions:
            versions = plan_versions(model, observed, self._settings, failures=failures, now=now, served=served)
        observed = state.observed = await self._with_users_claim(model, observed)
        retries = [p.sync.retry_after_s for p in versions.plans if p.sync.retry_after_s is not None]
        if retries:
            state.again = Again(min(retries))
        desired = state.desired = plan_desired(
            model,
            observed,
            versions,
            state.views,
            self._settings,
            control_key=state.control_key,
            config_failure=failures.get(None),
            now=now,
            refused_since=self._refused_since.get(model.uid),
        )
        self._refused_since[model.uid] = desired.strategy.refused_since
        if desired.strategy.recheck_s is not None:
            state.again = Again(min([desired.strategy.recheck_s, *retries]))
        if any(is_running(v.pod) and (v.loaded is None or v.loaded.difference) for v in state.views):
            state.again = Again(_RECHECK_S)
        if model.spec.paused:
            return
        deployment = await apply_desired(self._store, self._cache, model, desired, observed)
        if deployment is not None:
            # Status must not speak of the template that was: from here on its pods are those that go.
            state.observed = replace(observed, deployment=deployment)
            state.event = plan_rolling_event(observed.deployment, deployment, desired.strategy)
        if await prune(self._store, self._cache, model, desired, observed):
            state.again = Again(0.0)

    async def _with_users_claim(self, model: ClipModel, observed: Observed) -> Observed:
        """Add the claim that the user brought. It has no label of ours, so it is not watched; where it can be mounted never changes."""
        name = model.spec.storage.existing_claim
        if name is None:
            return observed
        return replace(observed, claim=await self._store.get_object(CLAIMS, model.key.namespace, name))

    async def _roll_out(self, state: _Pass) -> None:
        """Bring the pods that do not run the target to it."""
        model, desired = state.model, state.desired
        if model is None or desired is None:
            return
        records = desired.versions.records
        before = desired.versions.before.versions
        failure = await self._rollout.bring(
            model,
            desired.pending,
            Wanted(desired.versions.target.versions, records),
            committed=Wanted(before, records) if before else None,
            control_key=state.control_key,
        )
        if failure is not None:
            self._known_failures(model)[failure.version] = failure

    async def _report(self, obj: Mapping[str, Any], state: _Pass) -> bool:
        """Write the status. Gives whether the object is still there."""
        now = self._clock.now()
        failures = self._known_failures(state.model) if state.model else {}
        view = view_of(
            state.model,
            state.desired,
            state.views,
            config_failure=failures.get(None),
            blocked=state.blocked,
            deployment=state.observed.deployment,
        )
        status = assess_status(subject_of(obj, state.model), view, now=now)
        try:
            # First: no later pass would know of it.
            if state.event is not None:
                event, state.event = state.event, None
                await write_event(self._store, obj, event, now=now)
            written = await write_status(self._store, obj, status, resource_version=self._latest_version(obj), now=now)
        except GoneError:
            return False
        except RetryError as error:
            logger.warning("status: %s", error)
            state.again = state.again or Again(error.retry_after_s)
            return False
        except RejectedError as error:
            # The CRD is another release's, say: the trouble of one resource, not of the process.
            logger.warning("status: %s", error)
            state.again = state.again or Again()
            return False
        if written is not None:
            # The cache must have what was written, or the next pass would write it again.
            self._cache.put(CLIP_MODELS.kind, written)
        return True

    def _latest_version(self, obj: Mapping[str, Any]) -> str:
        """Give the latest resourceVersion that is known of the very object: an edit during the pass is no reason not to tell."""
        metadata = obj["metadata"]
        latest = (self._cache.get(CLIP_MODELS.kind, metadata["namespace"], metadata["name"]) or obj)["metadata"]
        return str((latest if latest["uid"] == metadata["uid"] else metadata)["resourceVersion"])
