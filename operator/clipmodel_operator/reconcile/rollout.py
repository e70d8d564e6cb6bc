"""Bring a config to running servers, pod by pod: prove new versions under the candidate's name, load, and prove again.

Nothing unproven is ever loaded under the real name; whatever fails, the pods that had taken the new config are brought back to the committed one.
What is committed changes only afterwards, by the ConfigMap, when every ready pod has proven the new config: so a pod that restarts at any
moment comes back with something that was proven.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipmodel_contract.names import candidate_name
from clipmodel_contract.report import Failure, VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models import reasons
from clipmodel_operator.models.errors import RejectedError, RetryError
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.server import Server
from clipmodel_operator.reconcile.fleet import Fleet, Triton, compare_golden, server_of
from clipmodel_operator.rendering.config_pbtxt import config_id, render_config

logger = logging.getLogger(__name__)

# Unloading waits for requests in flight; the candidate has none but ours.
_UNLOAD_DEADLINE_S = 60.0
_UNLOAD_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set of versions to serve, with their proofs."""

    versions: tuple[int, ...]
    records: tuple[VersionRecord, ...]

    def of(self, versions: Sequence[int]) -> list[VersionRecord]:
        return [r for r in self.records if r.version in versions]


class RolloutFailedError(Exception):
    """Servers do not take it, and trying again would end the same."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Rollout:
    """Moves running servers from config to config."""

    def __init__(self, triton: Triton, fleet: Fleet) -> None:
        self._triton = triton
        self._fleet = fleet

    async def bring(
        self,
        model: ClipModel,
        views: Sequence[PodView],
        wanted: Wanted,
        *,
        committed: Mapping[str, Mapping[str, Any]],
        control_key: str,
    ) -> Failure | None:
        """Bring every pod of `views` to `wanted`, or all of them back to `committed`: the config of each profile, as it was committed.

        Gives why it failed; raises RetryError where a server went away.
        """
        touched: list[PodView] = []
        try:
            for view in views:
                server = server_of(view.pod, control_key)
                await self._prove(model, server, view, wanted)
            for view in views:
                server = server_of(view.pod, control_key)
                await self._clear(server, candidate_of(model))
                touched.append(view)
                await self._switch(model, server, view, wanted)
        except RolloutFailedError as error:
            logger.warning("%s: %s", model.key, error)
            try:
                await self.bring_back(model, touched, committed, control_key=control_key)
            except RetryError as lost:
                logger.warning("%s: %s; the next pass tries again", model.key, lost)
            return error.failure
        return None

    async def _prove(self, model: ClipModel, server: Server, view: PodView, wanted: Wanted) -> None:
        """Prove, under the candidate's name, the versions that the server does not serve yet."""
        loaded = view.loaded.versions if view.loaded else ()
        for record in wanted.of([v for v in wanted.versions if v not in loaded]):
            name = candidate_of(model)
            config = render_config(model, versions=[record.version], profile=Profile(view.profile), name=name)
            await self._clear(server, name)
            try:
                await self._triton.load(server, name, config)
                difference = await compare_golden(self._triton, server, model, [record], name=name)
            except RejectedError as error:
                raise _failed(record.version, reasons.SERVER_REJECTED, f"Triton cannot load it: {error}") from error
            finally:
                await self._unload(server, name)
            if difference is not None:
                raise _failed(record.version, reasons.GOLDEN_CHECK_FAILED, difference)

    async def _unload(self, server: Server, name: str) -> None:
        """Begin to unload the candidate. That takes a second or more, in which the next pod can prove it."""
        # Never loaded, or not heard: `_clear` asks again, and what the proof found must not be lost for this.
        with contextlib.suppress(RejectedError, RetryError):
            await self._triton.unload(server, name)

    async def _clear(self, server: Server, name: str) -> None:
        """Wait until the candidate is gone: its memory is needed for what is loaded next."""
        if not await self._triton.loaded_versions(server, name):
            return
        await self._unload(server, name)  # once more: the first request may not have reached the server
        deadline = asyncio.get_running_loop().time() + _UNLOAD_DEADLINE_S
        while await self._triton.loaded_versions(server, name):
            if asyncio.get_running_loop().time() > deadline:
                raise RetryError(f"{name} is still loaded {_UNLOAD_DEADLINE_S:.0f} s after it was unloaded")
            await asyncio.sleep(_UNLOAD_POLL_S)

    async def _switch(self, model: ClipModel, server: Server, view: PodView, wanted: Wanted) -> None:
        """Load under the real name and prove once more. A load of what is loaded already costs nothing."""
        config = render_config(model, versions=wanted.versions, profile=Profile(view.profile))
        self._fleet.forget_pod(model.uid, view.pod)
        if view.loaded is None or view.loaded.config_id != config_id(config):
            try:
                await self._triton.load(server, model.model_name, config)
            except RejectedError as error:
                raise _failed(None, reasons.SERVER_REJECTED, f"Triton refuses the configuration: {error}") from error
        try:
            difference = await compare_golden(self._triton, server, model, wanted.of(wanted.versions))
        except RejectedError as error:
            # A load that says 200 may have skipped a version: its readiness is what counts.
            raise _failed(None, reasons.SERVER_REJECTED, f"Triton does not serve what it loaded: {error}") from error
        if difference is not None:
            raise _failed(None, reasons.GOLDEN_CHECK_FAILED, difference)

    async def bring_back(
        self,
        model: ClipModel,
        views: Sequence[PodView],
        committed: Mapping[str, Mapping[str, Any]],
        *,
        control_key: str,
    ) -> None:
        """Load the config that is committed, byte for byte as it was: the current spec is what has failed.

        Raises RetryError where a server did not take it, after all of them were asked.
        """
        lost: list[str] = []
        for view in views:
            config, name = committed.get(view.profile), view.pod["metadata"]["name"]
            if config is None:
                logger.warning("%s: what is committed for profile %s cannot be read", model.key, view.profile)
                continue
            self._fleet.forget_pod(model.uid, view.pod)
            try:
                await self._triton.load(server_of(view.pod, control_key), model.model_name, config)
            except (RejectedError, RetryError) as error:
                lost.append(f"bringing {name} back to what is committed: {error}")
        if lost:
            raise RetryError("; ".join(lost))


def candidate_of(model: ClipModel) -> str:
    return candidate_name(model.model_name)


def _failed(version: int | None, reason: str, message: str) -> RolloutFailedError:
    return RolloutFailedError(Failure(reason, message[:256], is_final=True, version=version))
