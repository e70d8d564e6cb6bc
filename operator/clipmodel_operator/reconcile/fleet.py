"""What each Triton pod runs, in its own words, and whether it gives the proven embeddings: asked once per run of a pod and config.

After a restart of the operator every pod is asked once more; nothing that a pod holds is taken from memory alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from clipmodel_contract import golden
from clipmodel_contract.names import candidate_name
from clipmodel_contract.report import VersionRecord
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.pods import incarnation, is_running, started_profile
from clipmodel_operator.models.errors import RejectedError, RetryError
from clipmodel_operator.models.observed import Loaded, PodView
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering.config_pbtxt import CONFIG_ID_PARAMETER


class Triton(Protocol):
    """What asks single servers. Raises RejectedError where a server says no, RetryError where it does not answer."""

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]: ...
    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]: ...
    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None: ...
    async def unload(self, server: Server, model: str) -> None: ...
    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]: ...


async def compare_golden(
    triton: Triton, server: Server, model: ClipModel, records: Sequence[VersionRecord], *, name: str | None = None
) -> str | None:
    """Compare the golden embeddings of versions with their records. Gives the first difference; None where all agree.

    An empty list of records proves nothing, and is a difference.
    """
    if not records:
        return "no version to compare with"
    for record in records:
        for index, vector in enumerate(record.vectors):
            served = await triton.embed_golden(
                server, model=name or model.model_name, version=record.version, tensors=model.tensors, index=index
            )
            found = golden.difference(served, golden.decode_vector(vector), model.spec.verification.min_cosine)
            if found is not None:
                return f"version {record.version}, golden image {index}: {found}"
    return None


def server_of(pod: Mapping[str, Any], control_key: str) -> Server:
    return Server(str(pod["status"]["podIP"]), control_key)


class Fleet:
    """Remembers what each run of each pod said, until it is told that this changed."""

    def __init__(self, triton: Triton) -> None:
        self._triton = triton
        self._known: dict[str, dict[tuple[str, ...], Loaded]] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a ClipModel."""
        self._known.pop(uid, None)

    def forget_pod(self, uid: str, pod: Mapping[str, Any]) -> None:
        """Drop what is remembered of a pod: something was loaded there."""
        self._known.get(uid, {}).pop(incarnation(pod), None)

    async def look(
        self, model: ClipModel, pods: Sequence[Mapping[str, Any]], *, records: Sequence[VersionRecord], control_key: str
    ) -> tuple[PodView, ...]:
        """Look at every pod.

        One that runs but is not ready is asked as well: a wrong embedding is why its startup probe fails, and nobody else would say so.
        """
        known, seen, views = self._known.get(model.uid, {}), {}, []
        for pod in pods:
            run = incarnation(pod)
            loaded = known.get(run)
            if loaded is None and is_running(pod):
                loaded = await self._ask(model, server_of(pod, control_key), records)
            # Only a success stands: a difference is asked for again at the next pass, and heals when the pod does.
            if loaded is not None and loaded.difference is None:
                seen[run] = loaded
            views.append(PodView(pod=pod, profile=started_profile(pod), loaded=loaded))
        self._known[model.uid] = seen
        return tuple(views)

    async def _ask(self, model: ClipModel, server: Server, records: Sequence[VersionRecord]) -> Loaded | None:
        candidate = candidate_name(model.model_name)
        try:
            if await self._triton.loaded_versions(server, candidate):
                # An operator that died while it proved a version left it there, and its memory with it.
                await self._triton.unload(server, candidate)
            config = await self._triton.get_config(server, model.model_name)
            config_id, versions = read_config(config)
            wanted = [r for r in records if r.version in versions]
            if len(wanted) != len(versions):
                missing = sorted(set(versions) - {r.version for r in wanted})
                return Loaded(config_id, versions, f"it serves version {missing[0]}, of which no proof is known")
            difference = await compare_golden(self._triton, server, model, wanted)
        except (RejectedError, RetryError):
            return None
        return Loaded(config_id, versions, difference)


def read_config(config: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    """Read a config's id and versions from what Triton says; a config that is not of ours has no id."""
    parameters = config.get("parameters") or {}
    found = (parameters.get(CONFIG_ID_PARAMETER) or {}).get("string_value", "")
    specific = ((config.get("version_policy") or {}).get("specific") or {}).get("versions") or []
    return str(found), tuple(sorted(int(v) for v in specific))
