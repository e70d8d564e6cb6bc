"""The steps on one Triton server, as requests: docs/adr/0017. Each ends with what came of it; who asks decides what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from clipmodel_contract import golden
from clipmodel_contract.names import candidate_name
from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from clipmodel_contract.report import VersionRecord, clip
from clipmodel_contract.tensors import Tensors
from clipmodel_operator.models.errors import LoadRefusedError, RejectedError, RetryError
from clipmodel_operator.models.ledger import find_revision
from clipmodel_operator.models.observed import Loaded, Outcome
from clipmodel_operator.models.revision import Config, Revision
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering.revision import candidate_config, config_of_version

# Unloading waits for requests in flight; the candidate has none but ours.
UNLOAD_DEADLINE_S = 60.0
UNLOAD_POLL_S = 0.2
# Measured: a load of what is loaded answers within 0.02 s, any other takes 0.15 s and more (tests/triton/test_barrier.py).
BARRIER_LOADS = 10
BARRIER_PAUSE_S = 0.3
BARRIER_NOTHING_S = 0.1


NOT_LOADED = Loaded("", (), "the model is not loaded", is_compared=False)


class Triton(Protocol):
    """What asks single servers. Raises RejectedError where a server says no, RetryError where it does not answer."""

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]: ...
    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]: ...
    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None: ...
    async def unload(self, server: Server, model: str) -> None: ...
    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]: ...


class NotWantedError(Exception):
    """A step is wanted no longer, and ends before its next load."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A server, the model on it, and what is known of that."""

    server: Server
    model: str
    profile: str
    tensors: Tensors
    known: tuple[Revision, ...]
    """What it may run; what counts first comes first."""
    records: Mapping[str, VersionRecord]
    """Golden vectors, by digest."""
    is_wanted: Callable[[], bool] = lambda: True
    """Tells whether a load is still wanted: while a step waits, the spec may change, or another pod may have refused."""

    @property
    def candidate(self) -> str:
        return candidate_name(self.model)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a step."""

    outcome: Outcome
    message: str = ""
    version: int | None = None
    loaded: Loaded | None = None
    """What the server runs under the real name, where the step has found that out."""
    proved: frozenset[str] = frozenset()
    """What it has proven by that (Revision.proof_of)."""
    has_candidate: bool | None = None
    """Whether something is left under the candidate's name; None where the step does not tell."""


async def look(triton: Triton, subject: Subject) -> Result:
    """Ask what a server runs, and whether it gives the embeddings of that."""
    has_candidate: bool | None = None
    try:
        has_candidate = bool(await triton.loaded_versions(subject.server, subject.candidate))
        try:
            config = await triton.get_config(subject.server, subject.model)
        except RejectedError:
            loaded = NOT_LOADED
            return Result(Outcome.DONE, loaded=loaded, has_candidate=has_candidate)
        config_id, _ = read_config(config)
        revision = find_revision(subject.known, profile=subject.profile, config_id=config_id)
        found = await _look_at(triton, subject, config, revision)
        return replace(found, has_candidate=has_candidate)
    except (RejectedError, RetryError) as error:
        return Result(Outcome.LOST, str(error), has_candidate=has_candidate)


async def _look_at(triton: Triton, subject: Subject, config: Mapping[str, Any], revision: Revision | None) -> Result:
    """Compare with the revision that the config is of; with the versions' own records, where it is of none that is known."""
    config_id, versions = read_config(config)
    if revision is not None:
        digests, min_cosine = revision.digests, revision.min_cosine
    else:
        by_number = {r.version: digest for digest, r in subject.records.items()}
        digests = {v: by_number.get(v, "") for v in versions}
        min_cosine = max((r.min_cosine for r in subject.known), default=golden.MIN_COSINE)
    missing = [v for v in digests if digests[v] not in subject.records]
    if missing or not digests:
        why = f"it serves version {missing[0]}, of which no proof is known" if missing else "it serves no version"
        loaded = Loaded(config_id, versions, why, is_compared=False)
        return Result(Outcome.DONE, loaded=loaded)
    try:
        found = await _compare(triton, subject, subject.model, digests, min_cosine)
    except RejectedError as error:
        # It says that it is ready, and embeds nothing: the backend's process is gone, say.
        found = Result(Outcome.DIFFERS, f"it does not embed: {clip(str(error))}")
    loaded = Loaded(config_id, versions, found.message or None, config=config if revision is None else None)
    is_proved = revision is not None and found.outcome is Outcome.DONE
    proved = frozenset({revision.proof_of(subject.profile)} if is_proved and revision is not None else ())
    return Result(Outcome.DONE, loaded=loaded, proved=proved)


async def prove(triton: Triton, subject: Subject, revision: Revision, *, alone: Sequence[int] = ()) -> Result:
    """Load a whole revision under the candidate's name, compare, and begin to unload it. Each version of `alone` is loaded by itself before."""
    config = revision.configs[subject.profile]
    parts = [(config_of_version(config, v), {v: revision.digests[v]}) for v in alone]
    found = Result(Outcome.DONE)
    for part, digests in [*parts, (config, revision.digests)]:
        found = await _prove_config(triton, subject, part, digests, revision.min_cosine)
        if found.outcome is Outcome.REFUSED and found.version is None and part is not config:
            found = replace(found, version=next(iter(digests)))  # Triton's words name none, and there is no other
        if found.outcome is not Outcome.DONE:
            break
    proved = {revision.proof_of(subject.profile)} if found.outcome is Outcome.DONE else ()
    return replace(found, proved=frozenset(proved))


async def _prove_config(
    triton: Triton, subject: Subject, config: Config, digests: Mapping[int, str], min_cosine: float
) -> Result:
    try:
        await _clear(triton, subject)
        try:
            await _load(triton, subject, subject.candidate, candidate_config(config, subject.candidate))
            found = await _compare(triton, subject, subject.candidate, digests, min_cosine)
        except RejectedError as error:
            found = _refused(error)
        left = await _begin_unload(triton, subject)
    except (RejectedError, RetryError) as error:
        await _begin_unload(triton, subject)
        return Result(Outcome.LOST, str(error), has_candidate=True)
    return replace(found, has_candidate=left)


async def verify(triton: Triton, subject: Subject, revision: Revision) -> Result:
    """Compare what a server runs under the real name by the tolerance of a revision of the same config."""
    try:
        found = await _compare(triton, subject, subject.model, revision.digests, revision.min_cosine)
    except RejectedError as error:
        return _refused(error)
    except RetryError as error:
        return Result(Outcome.LOST, str(error))
    proved = {revision.proof_of(subject.profile)} if found.outcome is Outcome.DONE else ()
    return Result(found.outcome, found.message, found.version, proved=frozenset(proved))


async def switch(triton: Triton, subject: Subject, revision: Revision, *, is_unsure: bool = False) -> Result:
    """Load under the real name and compare once more. A load of what is loaded already costs nothing.

    What differs is unloaded at once: no answer is better than a wrong one, and the pod leaves the Service. `is_unsure`: loads whose answers are
    lost may be under way.
    """
    config = revision.configs[subject.profile]
    try:
        await _clear(triton, subject)
        await _load(triton, subject, subject.model, config)
        if is_unsure:
            await _outlast(triton, subject, config)
    except RejectedError as error:
        return _refused(error)
    except RetryError as error:
        return Result(Outcome.LOST, str(error))
    try:
        found = await _compare(triton, subject, subject.model, revision.digests, revision.min_cosine)
    except RejectedError as error:
        # A load that says 200 may have skipped a version: its readiness is what counts.
        found = Result(Outcome.REFUSED, f"it does not serve what it loaded: {error}")
    except RetryError as error:
        return Result(Outcome.LOST, str(error))
    if found.outcome is not Outcome.DONE:
        withdrawn = await withdraw(triton, subject)
        return Result(found.outcome, found.message, found.version, loaded=withdrawn.loaded, has_candidate=False)
    loaded = Loaded(revision.config_ids[subject.profile], revision.versions, None)
    proved = frozenset({revision.proof_of(subject.profile)})
    return Result(Outcome.DONE, loaded=loaded, proved=proved, has_candidate=False)


async def _outlast(triton: Triton, subject: Subject, config: Config) -> None:
    """Load until there is nothing to be done: of several loads that wait, Triton (2.51) begins any, so that a lost one may come after ours."""
    loop = asyncio.get_running_loop()
    for _ in range(BARRIER_LOADS):
        await asyncio.sleep(BARRIER_PAUSE_S)
        begun = loop.time()
        await _load(triton, subject, subject.model, config)
        if loop.time() - begun <= BARRIER_NOTHING_S:
            return
    # Each of ours has outlasted one lost load at least. Where all were slow it is the way to the server, or its load, and it runs what it should.
    said, _ = read_config(await triton.get_config(subject.server, subject.model))
    if said != read_config(config)[0]:
        raise RetryError(f"after {BARRIER_LOADS} loads something was still to be loaded")


async def withdraw(triton: Triton, subject: Subject) -> Result:
    """Unload the real name."""
    try:
        await triton.unload(subject.server, subject.model)
    except RetryError as error:
        return Result(Outcome.LOST, str(error))
    except RejectedError:
        pass  # it is not loaded
    return Result(Outcome.DONE, loaded=NOT_LOADED)


async def clear(triton: Triton, subject: Subject) -> Result:
    """Unload what is left under the candidate's name, and wait until it is gone."""
    try:
        await _clear(triton, subject)
    except (RejectedError, RetryError) as error:
        return Result(Outcome.LOST, str(error))
    return Result(Outcome.DONE, has_candidate=False)


async def _load(triton: Triton, subject: Subject, name: str, config: Config) -> None:
    if not subject.is_wanted():
        raise NotWantedError
    await triton.load(subject.server, name, config)


async def _clear(triton: Triton, subject: Subject) -> None:
    """Wait until the candidate is gone: its memory is needed for what is loaded next."""
    if not await triton.loaded_versions(subject.server, subject.candidate):
        return
    await _begin_unload(triton, subject)  # an earlier request may not have reached the server
    deadline = asyncio.get_running_loop().time() + UNLOAD_DEADLINE_S
    while await triton.loaded_versions(subject.server, subject.candidate):
        if asyncio.get_running_loop().time() > deadline:
            raise RetryError(f"{subject.candidate} is still loaded {UNLOAD_DEADLINE_S:.0f} s after it was unloaded")
        await asyncio.sleep(UNLOAD_POLL_S)


async def _begin_unload(triton: Triton, subject: Subject) -> bool:
    """Begin to unload the candidate; that takes a second or more. Gives whether something may be left: always, until a look says otherwise."""
    try:
        await triton.unload(subject.server, subject.candidate)
    except RejectedError:
        return False  # it was never loaded
    except RetryError:
        return True  # not heard: what the proof found must not be lost for this
    return True


async def _compare(
    triton: Triton, subject: Subject, name: str, digests: Mapping[int, str], min_cosine: float
) -> Result:
    """Compare the golden embeddings of versions with their records. Gives the first difference; nothing to compare with is one."""
    if not digests:
        return Result(Outcome.DIFFERS, "no version to compare with")
    for version in sorted(digests):
        record = subject.records.get(digests[version])
        if record is None:
            return Result(Outcome.DIFFERS, f"version {version}: no proof is known", version)
        for index, vector in enumerate(record.vectors):
            served = await triton.embed_golden(
                subject.server, model=name, version=version, tensors=subject.tensors, index=index
            )
            found = golden.difference(served, golden.decode_vector(vector), min_cosine)
            if found is not None:
                return Result(Outcome.DIFFERS, f"version {version}, golden image {index}: {found}", version)
    return Result(Outcome.DONE)


def _refused(error: RejectedError) -> Result:
    causes = error.causes if isinstance(error, LoadRefusedError) else {}
    version = next(iter(causes)) if len(causes) == 1 else None
    return Result(Outcome.REFUSED, clip(str(error)), version)


def read_config(config: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    """Read a config's id and versions from what Triton says; a config that is not of ours has no id."""
    parameters = config.get("parameters") or {}
    found = (parameters.get(CONFIG_ID_PARAMETER) or {}).get("string_value", "")
    specific = ((config.get("version_policy") or {}).get("specific") or {}).get("versions") or []
    return str(found), tuple(sorted(int(v) for v in specific))


def records_by_digest(records: Sequence[VersionRecord]) -> dict[str, VersionRecord]:
    return {r.sha256: r for r in records}
