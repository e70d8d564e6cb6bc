"""One level-triggered pass over a ClipModel: gather, plan, apply, prune, report, and start the next steps on pods.

Whatever happened since the last pass, and however far that one came, this one looks at what is and does what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_status
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.assessment.events import plan_rolling_event
from clipmodel_operator.assessment.pods import is_running, run_of
from clipmodel_operator.assessment.requeue import PassOutcome
from clipmodel_operator.assessment.status import blocked_by
from clipmodel_operator.models import reasons
from clipmodel_operator.models.errors import GoneError, RejectedError, RetryError, StalledError
from clipmodel_operator.models.event import Event
from clipmodel_operator.models.names import ANNOTATION_RETRY, Key
from clipmodel_operator.models.observed import Observed, PodView
from clipmodel_operator.models.resources import CLAIMS, CLIP_MODELS
from clipmodel_operator.models.step import StepKind
from clipmodel_operator.planning.adoption import was_left_midway
from clipmodel_operator.planning.objects import Desired, plan_desired
from clipmodel_operator.planning.rollout import may_load
from clipmodel_operator.planning.status import plan_status
from clipmodel_operator.planning.versions import assess_versions
from clipmodel_operator.reconcile.apply import ObjectStore, apply_desired
from clipmodel_operator.reconcile.fleet import Fleet
from clipmodel_operator.reconcile.gather import gather
from clipmodel_operator.reconcile.memory import Memory, ModelMemory
from clipmodel_operator.reconcile.model import read_model
from clipmodel_operator.reconcile.prune import prune
from clipmodel_operator.reconcile.report import StatusStore, own_part, write_event, write_status
from clipmodel_operator.reconcile.slot import check_slot
from clipmodel_operator.rendering.config_map import read_ledger
from clipmodel_operator.rendering.control_key import derive_control_key, render_control_secret
from clipmodel_operator.rendering.rollout_map import read_rollout
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
    def outcome(self) -> PassOutcome:
        """What the next pass depends on."""
        desired = self.desired
        versions = desired.versions.versions if desired else ()
        return PassOutcome(
            errors=tuple(self.errors),
            has_changed=self.has_changed,
            sync_retries_s=tuple(v.retry_after_s for v in versions if v.retry_after_s is not None),
            surge_recheck_s=desired.strategy.recheck_s if desired else None,
            rollout_recheck_s=desired.rollout.recheck_s if desired else None,
        )


def _is_being_asked(state: _Pass) -> bool:
    """Tell whether the answer of a pod that says what it runs, for the first time or after a step that failed, is on its way."""
    steps = state.desired.rollout.steps if state.desired is not None else ()
    looked_at = {run_of(view.pod) for view, step in steps if step.kind is StepKind.LOOK}
    return any(is_running(v.pod) and not v.is_asked and (v.is_busy or run_of(v.pod) in looked_at) for v in state.views)


class Reconciler:
    """Works on one key at a time; several keys may be worked on at once."""

    def __init__(
        self,
        *,
        store: Store,
        cache: ObjectCache,
        fleet: Fleet,
        settings: RenderSettings,
        root_key: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._cache = cache
        self._fleet = fleet
        self._settings = settings
        self._root_key = root_key
        self._clock = clock
        self.memory = Memory(forget_uid=self._fleet.forget)

    async def reconcile(self, key: Key) -> PassOutcome:
        """Bring one ClipModel nearer to its spec. Gives what decides when to look again, if not at the next event."""
        obj = self._cache.get(CLIP_MODELS.kind, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            # Garbage collection removes the children, with or without us.
            self._fleet.drop_waiting(key)
            self.memory.forget(key)
            return PassOutcome()
        self._fleet.drop_waiting(key)
        observed = gather(self._cache, key)
        status, generation = parse_status(obj), obj["metadata"].get("generation", 0)
        was_interrupted = may_load(
            read_rollout(observed.rollout_map), read_ledger(observed.config_map)
        ) or was_left_midway(observed.config_map, status, generation=generation)
        state = _Pass(
            obj,
            status,
            generation,
            self.memory.of(key, obj["metadata"]["uid"]),
            observed,
            views=self._fleet.view(obj["metadata"]["uid"], observed.server_pods, was_interrupted=was_interrupted),
        )
        is_advanced = await self._guard(key, state, self._advance(state))
        # Who is asked answers in a moment: to say that nothing is known of it would be no news after a start of the operator, or a failed try.
        await self._tell_event(state)
        is_told = (is_advanced and _is_being_asked(state)) or await self._report(state)
        # Where writing failed, what was planned before goes on: it needs nothing written.
        if is_told and (is_advanced or (state.desired is not None and not state.desired.is_news)):
            self._start_steps(state)
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
        observed = state.observed = await self._with_users_claim(model, state.observed)
        plan = partial(
            plan_desired,
            model,
            observed,
            assessed,
            state.views,
            self._settings,
            control_secret=render_control_secret(model, state.control_key),
            retry=str((state.obj["metadata"].get("annotations") or {}).get(ANNOTATION_RETRY) or ""),
            now=now,
            refused_since=state.memory.refused_since,
        )
        desired = state.desired = plan()
        state.memory.refused_since = desired.strategy.refused_since
        if model.spec.paused:
            return
        not_yet: RetryError | None = None
        try:
            await check_slot(self._store, model, before=read_rollout(observed.rollout_map), rollout=desired.rollout)
        except RetryError as error:
            # The replacement waits. What else the user asks for does not: fewer replicas may be what it waits for.
            not_yet, desired = error, plan(may_replace=False)
            state.desired = desired
        deployment = await apply_desired(self._store, self._cache, model, desired)
        if deployment is not None:
            # Status must not speak of the template that was: from here on its pods are those that go.
            state.observed = replace(observed, deployment=deployment)
            state.event = plan_rolling_event(observed.deployment, deployment, desired.strategy)
        self._fleet.take_note(model.uid, state.views)
        state.has_changed = await prune(self._store, self._cache, model, desired, observed) or desired.is_news
        if not_yet is not None:
            raise not_yet

    async def _with_users_claim(self, model: ClipModel, observed: Observed) -> Observed:
        """Add the claim that the user brought. It has no label of ours, so it is not watched; where it can be mounted never changes."""
        name = model.spec.storage.existing_claim
        if name is None:
            return observed
        return replace(observed, claim=await self._store.get_object(CLAIMS, model.key.namespace, name))

    def _start_steps(self, state: _Pass) -> None:
        """Start what is next on pods. Only now: what an attempt must not forget is written, and status is told."""
        model, desired = state.model, state.desired
        if model is None or desired is None:
            return
        uid, generation = model.uid, state.generation

        def is_wanted() -> bool:
            live = (self._cache.get(CLIP_MODELS.kind, *model.key) or {}).get("metadata") or {}
            is_same = (live.get("uid"), live.get("generation", 0)) == (uid, generation)
            return is_same and "deletionTimestamp" not in live

        self._fleet.want(uid, desired.rollout.loadable)
        for view, step in desired.rollout.steps:
            self._fleet.start(
                model,
                view,
                step,
                known=desired.known,
                records=desired.versions.records,
                control_key=state.control_key,
                is_wanted=is_wanted,
            )

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
                blocked=bug,
                now=now,
            )

    async def _tell_event(self, state: _Pass) -> None:
        """Tell what was done to the pods, also where status waits: no later pass would know of it."""
        event, state.event = state.event, None
        if event is None:
            return
        try:
            await write_event(self._store, state.obj, event, now=self._clock.now())
        except (GoneError, RetryError, RejectedError) as error:
            logger.warning("event: %s", error)
            state.errors.append(error)

    async def _report(self, state: _Pass) -> bool:
        """Write the status. Gives whether the object is still there."""
        now = self._clock.now()
        status = self._plan_status(state, now=now)
        try:
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
