"""One level-triggered pass over a ClipModel: gather, probe, plan, apply, prune, report, load.

Whatever happened since the last pass, and however far that one came, this one looks at what is and does what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_status
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.assessment.events import plan_rolling_event
from clipmodel_operator.assessment.pods import is_unproven, started_profile
from clipmodel_operator.assessment.requeue import PassOutcome
from clipmodel_operator.assessment.status import blocked_by
from clipmodel_operator.models import reasons
from clipmodel_operator.models.errors import GoneError, RejectedError, RetryError, StalledError
from clipmodel_operator.models.event import Event
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.resources import CLAIMS, CLIP_MODELS
from clipmodel_operator.planning.objects import Desired, plan_desired
from clipmodel_operator.planning.status import plan_status
from clipmodel_operator.planning.versions import assess_versions
from clipmodel_operator.reconcile.apply import ObjectStore, apply_desired
from clipmodel_operator.reconcile.fleet import Fleet, Triton
from clipmodel_operator.reconcile.gather import gather
from clipmodel_operator.reconcile.memory import Memory, ModelMemory
from clipmodel_operator.reconcile.model import read_model
from clipmodel_operator.reconcile.prune import prune
from clipmodel_operator.reconcile.report import StatusStore, own_part, write_event, write_status
from clipmodel_operator.reconcile.rollout import Rollout, Wanted
from clipmodel_operator.rendering.control_key import derive_control_key, render_control_secret
from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.runtime.cache import ObjectCache
from clipmodel_operator.runtime.clock import Clock

logger = logging.getLogger(__name__)

_BUG = "The operator has a bug, see its log. It tries again."


class Store(ObjectStore, StatusStore, Protocol):
    """All of the Kubernetes API that a pass uses."""


@dataclass(slots=True)
class _Pass:
    """What a pass has found out so far; complete or not, status is made of it."""

    obj: Mapping[str, Any]
    status: ClipModelStatus
    """As it was written last."""
    generation: int
    """Of the spec that the pass is about; an edit may be heard of meanwhile."""
    memory: ModelMemory
    observed: Observed
    views: tuple[PodView, ...]
    model: ClipModel | None = None
    control_key: str = ""
    desired: Desired | None = None
    blocked: Failure | None = None
    event: Event | None = None
    """What was done to the pods, beside what status tells."""
    has_changed: bool = False
    errors: list[Exception] = field(default_factory=list)

    @property
    def failures(self) -> dict[int | None, Failure]:
        """Rollouts that failed: the same is not tried again until the spec changes."""
        return self.memory.failures(self.model.generation) if self.model else {}

    @property
    def outcome(self) -> PassOutcome:
        """What the next pass depends on."""
        desired = self.desired
        versions = desired.versions.versions if desired else ()
        return PassOutcome(
            errors=tuple(self.errors),
            has_changed=self.has_changed,
            sync_retries_s=tuple(v.retry_after_s for v in versions if v.retry_after_s is not None),
            surge_recheck_s=desired.strategy.recheck_s if desired else None,
            # One that was brought back is asked again before anything is said of it.
            has_unproven_pod=desired is not None and (bool(desired.returning) or any(map(is_unproven, self.views))),
        )


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
        self.memory = Memory(forget_uid=self._fleet.forget)

    async def reconcile(self, key: Key) -> PassOutcome:
        """Bring one ClipModel nearer to its spec. Gives what decides when to look again, if not at the next event."""
        obj = self._cache.get(CLIP_MODELS.kind, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            # Garbage collection removes the children, with or without us.
            self.memory.forget(key)
            return PassOutcome()
        observed = gather(self._cache, key)
        state = _Pass(
            obj,
            parse_status(obj),
            obj["metadata"].get("generation", 0),
            self.memory.of(key, obj["metadata"]["uid"]),
            observed,
            # Until a pod has been asked nothing is known of it.
            views=tuple(PodView(p, started_profile(p)) for p in observed.server_pods),
        )
        is_advanced = await self._guard(key, state, self._advance(state))
        is_told = await self._report(state)
        # Status first: what follows takes as long as a model takes to load.
        desired = state.desired if is_advanced and is_told else None
        if desired is not None and desired.returning:
            await self._guard(key, state, self._bring_back(state), silent=reasons.SERVER_FAILED)
        elif (
            desired is not None
            and desired.pending
            and not await self._guard(key, state, self._roll_out(state), silent=reasons.SERVER_FAILED)
        ):
            await self._report(state)
        return state.outcome

    def has_told(self, obj: Mapping[str, Any]) -> bool:
        """Tell whether a ClipModel's status is the one that we wrote last."""
        metadata = obj["metadata"]
        told = self.memory.told(Key(metadata["namespace"], metadata["name"]), metadata["uid"])
        return told is not None and own_part(obj.get("status") or {}) == told

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
            state.blocked = blocked_by(error.reason, str(error), is_final=True)
            state.errors.append(error)
        except RetryError as error:
            logger.warning("%s: %s", key, error)
            state.blocked = blocked_by(silent, str(error), is_final=False)
            state.errors.append(error)
        except (GoneError, RejectedError) as error:
            # The namespace, or the resource itself, went while we worked; if not, the next try will find out.
            logger.info("%s: %s", key, error)
            state.blocked = blocked_by(reasons.API_UNAVAILABLE, str(error), is_final=False)
            state.errors.append(error)
        except Exception as error:  # the one place where a bug of ours becomes a status
            logger.exception("%s: a bug in the operator", key)
            state.blocked = blocked_by(reasons.INTERNAL_ERROR, _BUG, is_final=False)
            state.errors.append(error)
        return False

    async def _advance(self, state: _Pass) -> None:
        """Go as far as can be gone now, without touching what runs."""
        model = state.model = await read_model(self._store, state.obj, state.observed, status=state.status)
        state.control_key = derive_control_key(self._root_key, uid=model.uid)
        now = self._clock.now()
        assessed = assess_versions(model, state.observed, self._settings, now=now)
        state.views = await self._fleet.look(
            model, state.observed.server_pods, records=assessed.records, control_key=state.control_key
        )
        observed = state.observed = await self._with_users_claim(model, state.observed)
        desired = state.desired = plan_desired(
            model,
            observed,
            assessed,
            state.views,
            self._settings,
            control_secret=render_control_secret(model, state.control_key),
            failures=state.failures,
            now=now,
            refused_since=state.memory.refused_since,
        )
        state.memory.refused_since = desired.strategy.refused_since
        if desired.is_new_config:
            state.failures.pop(None, None)
        if model.spec.paused:
            return
        deployment = await apply_desired(self._store, self._cache, model, desired)
        if deployment is not None:
            # Status must not speak of the template that was: from here on its pods are those that go.
            state.observed = replace(observed, deployment=deployment)
            state.event = plan_rolling_event(observed.deployment, deployment, desired.strategy)
        state.has_changed = await prune(self._store, self._cache, model, desired, observed)

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
        failure = await self._rollout.bring(
            model,
            desired.pending,
            Wanted(desired.versions.target.versions, records),
            committed=desired.versions.before.configs,
            control_key=state.control_key,
        )
        state.has_changed = True
        if failure is not None:
            state.failures[failure.version] = failure

    def _plan_status(self, state: _Pass, *, now: datetime) -> ClipModelStatus:
        """Say what is; where that has a bug, that it has one."""
        try:
            return plan_status(
                state.obj,
                state.model,
                state.desired,
                state.views,
                generation=state.generation,
                previous=state.status,
                deployment=state.observed.deployment,
                config_failure=state.failures.get(None),
                blocked=state.blocked,
                now=now,
            )
        except Exception as error:
            logger.exception("%s: a bug in the operator's status", state.obj["metadata"]["name"])
            state.errors.append(error)
            bug = blocked_by(reasons.INTERNAL_ERROR, _BUG, is_final=False)
            return plan_status(
                state.obj,
                None,
                None,
                state.views,
                generation=state.generation,
                previous=state.status,
                deployment=None,
                config_failure=None,
                blocked=bug,
                now=now,
            )

    async def _bring_back(self, state: _Pass) -> None:
        """Bring back the pods that run a config which is known to fail: an earlier try did not reach them."""
        model, desired = state.model, state.desired
        if model is None or desired is None:
            return
        try:
            await self._rollout.bring_back(
                model, desired.returning, desired.versions.before.configs, control_key=state.control_key
            )
        except RetryError as error:
            # Status goes on telling why the config failed.
            logger.warning("%s: %s", model.key, error)
            state.errors.append(error)

    async def _report(self, state: _Pass) -> bool:
        """Write the status. Gives whether the object is still there."""
        now = self._clock.now()
        status = self._plan_status(state, now=now)
        try:
            # First: no later pass would know of it.
            if state.event is not None:
                event, state.event = state.event, None
                await write_event(self._store, state.obj, event, now=now)
            written = await write_status(
                self._store,
                state.obj,
                status,
                memory=state.memory,
                previous=state.status,
                resource_version=self._latest_version(state.obj),
                now=now,
            )
        except GoneError:
            return False
        except (RetryError, RejectedError) as error:
            # Rejected: the CRD is another release's, say; the trouble of one resource, not of the process.
            logger.warning("status: %s", error)
            state.errors.append(error)
            return False
        if written is not None:
            # The cache must have what was written, or the next pass would write it again.
            self._cache.put(CLIP_MODELS.kind, written)
            state.obj, state.status = written, status
        return True

    def _latest_version(self, obj: Mapping[str, Any]) -> str:
        """Give the latest resourceVersion that is known of the very object: an edit during the pass is no reason not to tell."""
        metadata = obj["metadata"]
        latest = (self._cache.get(CLIP_MODELS.kind, metadata["namespace"], metadata["name"]) or obj)["metadata"]
        return str((latest if latest["uid"] == metadata["uid"] else metadata)["resourceVersion"])
