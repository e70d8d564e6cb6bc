"""One pure function from what a pass knows to the status that it writes: the only place that decides what a user is told.

Ready is True only if a client asking now gets the proven embedding of the version in the spec (invariant 1). Reconciling and Stalled are
there only while True (kstatus).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clipmodel_operator.assessment.pods import find_trouble, is_ready, loaded_versions
from clipmodel_operator.assessment.sync import SyncAssessment, SyncPhase
from clipmodel_operator.models import names, reasons
from clipmodel_operator.models.api import ClipModelStatus, Condition, Endpoints, Profile, VersionState, VersionStatus
from clipmodel_operator.models.facts import Blocked, PassResult, PodCheck

_MESSAGE_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Said:
    """A condition's content, before time and generation are added."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What the status is of: the parts of a ClipModel that it repeats."""

    generation: int
    model_name: str | None
    name: str
    profile: Profile | None
    replicas: int
    endpoints: Endpoints | None
    previous: ClipModelStatus


def _short(message: str) -> str:
    one_line = " ".join(message.split())
    return one_line if len(one_line) <= _MESSAGE_LENGTH else one_line[: _MESSAGE_LENGTH - 1] + "…"


def _versions(numbers: Sequence[int]) -> str:
    return ("version " if len(numbers) == 1 else "versions ") + ", ".join(str(n) for n in numbers)


def _proven(checks: Sequence[PodCheck]) -> list[PodCheck]:
    """Choose ready pods on the committed config that passed the golden check."""
    return [
        c for c in checks if c.is_current and is_ready(c.pod) and c.result is not None and c.result.difference is None
    ]


def serving_versions(checks: Sequence[PodCheck]) -> tuple[int, ...]:
    """Give the versions that clients can get now: of all ready pods, those on an earlier config too (their startup probe proved them)."""
    found: set[int] = set()
    for check in checks:
        failed = check.result is not None and check.result.difference is not None
        unproven = check.is_current and check.result is None
        if is_ready(check.pod) and not failed and not unproven:
            found.update(loaded_versions(check.pod))
    return tuple(sorted(found))


def _synced(sync: SyncAssessment | None) -> Said:
    if sync is None:
        return Said("Unknown", reasons.SYNC_PENDING, "Nothing is known of the version yet.")
    what = f"version {sync.version.version}"
    match sync.phase:
        case SyncPhase.DONE:
            return Said(
                "True", reasons.VERSION_SYNCED, f"{what} is on the volume, sha256 {sync.version.source.sha256[:12]}…."
            )
        case SyncPhase.FAILED | SyncPhase.RETRYING:
            reason = sync.failure.reason if sync.failure else reasons.SYNC_FAILED
            return Said("False", reason, f"{what}: {sync.message}")
        case SyncPhase.NO_JOB | SyncPhase.START_OVER:
            return Said("Unknown", reasons.SYNC_PENDING, f"{what}: {sync.message.rstrip('.')}.")
        case SyncPhase.RUNNING:
            return Said("Unknown", reasons.SYNCING, f"{what}: {sync.message.rstrip('.')}.")


def _failed_check(checks: Sequence[PodCheck]) -> PodCheck | None:
    return next((c for c in checks if c.is_current and c.result is not None and c.result.difference), None)


def _verified(checks: Sequence[PodCheck]) -> Said:
    failed = _failed_check(checks)
    if failed is not None and failed.result is not None:
        name = failed.pod["metadata"]["name"]
        return Said(
            "False",
            reasons.GOLDEN_CHECK_FAILED,
            f"pod {name}: {failed.result.difference}. Its embeddings are not those proven at sync: see its log, and the image's version.",
        )
    proven = _proven(checks)
    if proven:
        return Said(
            "True", reasons.GOLDEN_CHECK_PASSED, "Every ready pod answers with the embeddings that were proven at sync."
        )
    return Said("Unknown", reasons.GOLDEN_CHECK_PENDING, "No pod has answered the golden check yet.")


def _available(serving: Sequence[int], subject: Subject) -> Said:
    if serving:
        return Said("True", reasons.PODS_READY, f"{_versions(serving)} can be asked.")
    if subject.replicas == 0:
        return Said("False", reasons.SCALED_TO_ZERO, "spec.serving.replicas is 0.")
    return Said("False", reasons.PODS_NOT_READY, "No Triton pod is ready.")


@dataclass(frozen=True, slots=True)
class _Verdict:
    ready: Said
    reconciling: Said | None = None
    stalled: Said | None = None


def _stalled(reason: str, message: str) -> _Verdict:
    return _Verdict(Said("False", reason, message), stalled=Said("True", reason, message))


def _working(reason: str, message: str, *, retrying: bool = False) -> _Verdict:
    if retrying:
        return _Verdict(
            Said("False", reason, message), reconciling=Said("True", reasons.PROGRESSING_WITH_RETRY, message)
        )
    return _Verdict(Said("Unknown", reason, message), reconciling=Said("True", reasons.PROGRESSING, message))


def _still(serving: Sequence[int]) -> str:
    """While an old version serves and a new one fails, say both."""
    verb = "goes" if len(serving) == 1 else "go"
    return f" Meanwhile {_versions(serving)} {verb} on serving." if serving else ""


def _verdict(
    subject: Subject,
    sync: SyncAssessment | None,
    result: PassResult,
    serving: Sequence[int],
    synced: Said,
    verified: Said,
) -> _Verdict:
    """Decide in order of weight: what blocks everything, the version, its proof, the pods."""
    blocked = result.blocked
    if blocked is not None:
        message = blocked.message + _still(serving)
        return (
            _stalled(blocked.reason, message)
            if blocked.is_stalled
            else _working(blocked.reason, message, retrying=True)
        )
    if sync is None or sync.phase is not SyncPhase.DONE:
        # The advice is what matters: it must not be cut off by what serves meanwhile.
        message = synced.message[: _MESSAGE_LENGTH - len(_still(serving))] + _still(serving)
        if sync is not None and sync.phase is SyncPhase.FAILED:
            return _stalled(synced.reason, message)
        return _working(synced.reason, message, retrying=sync is not None and sync.phase is SyncPhase.RETRYING)
    if verified.status == "False":
        return _stalled(verified.reason, verified.message)
    return _pods_verdict(subject, result, serving)


def _pods_verdict(subject: Subject, result: PassResult, serving: Sequence[int]) -> _Verdict:
    if subject.replicas == 0:
        return _Verdict(
            Said("False", reasons.SCALED_TO_ZERO, "spec.serving.replicas is 0: set it to 1 or more to serve.")
        )
    proven, ready = _proven(result.checks), [c for c in result.checks if is_ready(c.pod)]
    count = f"{len(proven)} of {subject.replicas} pods"
    trouble = next((t for t in (find_trouble(c.pod) for c in result.checks) if t), None)
    if proven and len(proven) == len(ready):
        said = Said(
            "True",
            reasons.SERVING,
            f"{_versions(serving)} of {subject.model_name} on {count}, proven by the golden check.",
        )
        if len(proven) >= subject.replicas:
            return _Verdict(said)
        return _Verdict(said, reconciling=Said("True", reasons.PROGRESSING, trouble or f"{count} are ready."))
    if trouble:
        return _working(reasons.SERVER_FAILED, trouble + _still(serving), retrying=True)
    if any(not c.is_current for c in ready):
        return _working(reasons.ROLLING_OUT, f"{count} have the new configuration.{_still(serving)}")
    return _working(
        reasons.PODS_NOT_READY,
        f"{count} are proven: Triton is starting, loading the model, or answering the golden check.",
    )


def _version_status(sync: SyncAssessment, serving: Sequence[int]) -> VersionStatus:
    number, record = sync.version.version, sync.record
    if record is not None:
        state = VersionState.SERVING if number in serving else VersionState.SYNCED
        return VersionStatus(
            version=number,
            state=state,
            sha256=record.sha256,
            bytes=record.size_bytes,
            embedding_space_id=record.embedding_space_id,
        )
    states = {
        SyncPhase.NO_JOB: VersionState.PENDING,
        SyncPhase.FAILED: VersionState.FAILED,
        SyncPhase.START_OVER: VersionState.PENDING,
    }
    return VersionStatus(
        version=number, state=states.get(sync.phase, VersionState.SYNCING), message=_short(sync.message)
    )


def _conditions(said: dict[str, Said | None], subject: Subject, now: datetime) -> list[Condition]:
    before = {c.type: c for c in subject.previous.conditions}
    conditions = []
    for kind, content in said.items():
        if content is None:
            continue
        old = before.get(kind)
        since = (
            old.last_transition_time
            if old and old.status == content.status
            else now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        )
        conditions.append(
            Condition(
                type=kind,
                status=content.status,
                reason=content.reason,
                message=_short(content.message),
                last_transition_time=since,
                observed_generation=subject.generation,
            )
        )
    return conditions


def assess_status(
    subject: Subject, sync: SyncAssessment | None, result: PassResult, *, now: datetime
) -> ClipModelStatus:
    """Say what is. `sync` is None when the pass ended before the version could be looked at."""
    serving = serving_versions(result.checks)
    synced, verified = _synced(sync), _verified(result.checks)
    verdict = _verdict(subject, sync, result, serving, synced, verified)
    said = {
        reasons.READY: verdict.ready,
        reasons.RECONCILING: verdict.reconciling,
        reasons.STALLED: verdict.stalled,
        reasons.SYNCED: synced,
        reasons.VERIFIED: verified,
        reasons.AVAILABLE: _available(serving, subject),
    }
    return ClipModelStatus(
        observed_generation=subject.generation,
        conditions=_conditions(said, subject, now),
        profile=subject.profile,
        model_name=subject.model_name,
        versions=[_version_status(sync, serving)] if sync else subject.previous.versions,
        serving_versions=list(serving),
        endpoints=subject.endpoints,
        replicas=sum(1 for c in result.checks if "deletionTimestamp" not in c.pod["metadata"]),
        ready_replicas=len(_proven(result.checks)),
        selector=",".join(f"{k}={v}" for k, v in sorted(names.selector_labels(subject.name).items())),
    )


def blocked_by(reason: str, message: str, *, is_stalled: bool) -> Blocked:
    return Blocked(reason=reason, message=_short(message), is_stalled=is_stalled)
