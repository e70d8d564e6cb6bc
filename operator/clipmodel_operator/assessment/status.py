"""One pure function from what a pass knows to the status that it writes: the only place that decides what a user is told.

Ready is True only if a client asking now gets a proven embedding of the versions that the policy chooses (invariant 1). Reconciling and Stalled
are there only while True (kstatus).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clipmodel_contract.report import Failure
from clipmodel_operator.api.v1alpha1.status import MAX_VERSIONS, ClipModelStatus, Condition, VersionState, VersionStatus
from clipmodel_operator.assessment.pods import find_trouble, is_ready
from clipmodel_operator.assessment.status_input import ModelView, Subject
from clipmodel_operator.models import names, reasons
from clipmodel_operator.models.observed import PodView
from clipmodel_operator.models.version import Version

_MESSAGE_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Said:
    """A condition's content, before time and generation are added."""

    status: str
    reason: str
    message: str


def _short(message: str, length: int = _MESSAGE_LENGTH) -> str:
    one_line = " ".join(message.split())
    return one_line if len(one_line) <= length else one_line[: length - 1] + "…"


def _versions(numbers: Sequence[int]) -> str:
    return ("version " if len(numbers) == 1 else "versions ") + ", ".join(str(n) for n in numbers)


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _is_proven(pod: PodView) -> bool:
    """Tell whether a pod gets traffic and gave the proven embeddings of what it runs."""
    return is_ready(pod.pod) and pod.loaded is not None and pod.loaded.difference is None


def serving_versions(view: ModelView) -> tuple[int, ...]:
    """Give the versions that clients can get now, from any ready pod."""
    return tuple(sorted({v for p in view.pods if _is_proven(p) and p.loaded for v in p.loaded.versions}))


def _weight(version: Version, view: ModelView) -> tuple[bool, bool, bool, int]:
    """Order versions by what a user must hear first: chosen ones, final failures, failures, the highest number."""
    failure = version.failure
    return (
        version.number in view.chosen,
        failure is not None and failure.is_final,
        failure is not None,
        version.number,
    )


def _first_trouble(view: ModelView, *, chosen_only: bool) -> Version | None:
    """Find the version to speak of: one in trouble, else one that is not synced yet."""
    candidates = [v for v in view.versions if not chosen_only or v.number in view.chosen]
    troubled = [v for v in candidates if v.failure or not v.is_synced]
    return max(troubled, key=lambda v: _weight(v, view), default=None)


def _synced(view: ModelView) -> Said:
    if not view.versions:
        return Said("Unknown", reasons.SYNC_PENDING, "Nothing is known of the versions yet.")
    unsynced = [v for v in view.versions if not v.is_synced]
    if unsynced:
        worst = max(unsynced, key=lambda v: _weight(v, view))
        if worst.failure is not None:
            return Said("False", worst.failure.reason, f"version {worst.number}: {worst.failure.message}")
        reason = reasons.SYNCING if worst.is_begun else reasons.SYNC_PENDING
        return Said("Unknown", reason, f"version {worst.number}: {worst.progress.rstrip('.')}.")
    if len(view.versions) == 1:
        only = view.versions[0]
        message = f"version {only.number} is on the volume, sha256 {(only.record.sha256 if only.record else '')[:12]}…."
        return Said("True", reasons.VERSION_SYNCED, message)
    return Said(
        "True", reasons.VERSION_SYNCED, f"{_versions(sorted(v.number for v in view.versions))} are on the volume."
    )


def _verified(view: ModelView) -> Said:
    for pod in view.pods:
        if pod.loaded is not None and pod.loaded.is_wrong:
            message = (
                f"pod {pod.pod['metadata']['name']}: {pod.loaded.difference}. Its embeddings are not those proven at sync: "
                "see its log, and the image's version."
            )
            return Said("False", reasons.GOLDEN_CHECK_FAILED, message)
    ready = [p for p in view.pods if is_ready(p.pod)]
    if ready and all(map(_is_proven, ready)):
        message = "Every ready pod answers with the embeddings that were proven at sync."
        return Said("True", reasons.GOLDEN_CHECK_PASSED, message)
    message = f"{'Not every' if any(map(_is_proven, ready)) else 'No'} ready pod has answered the golden check yet."
    return Said("Unknown", reasons.GOLDEN_CHECK_PENDING, message)


def _available(serving: Sequence[int], subject: Subject, view: ModelView) -> Said:
    if serving:
        return Said("True", reasons.PODS_READY, f"{_versions(serving)} can be asked.")
    if subject.replicas == 0:
        return Said("False", reasons.SCALED_TO_ZERO, "spec.serving.replicas is 0.")
    if any(is_ready(p.pod) for p in view.pods):
        # It may answer clients, and is too busy for us.
        return Said("False", reasons.PODS_NOT_READY, "No ready pod has answered the golden check.")
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
        reconciling = Said("True", reasons.PROGRESSING_WITH_RETRY, message)
        return _Verdict(Said("False", reason, message), reconciling=reconciling)
    return _Verdict(Said("Unknown", reason, message), reconciling=Said("True", reasons.PROGRESSING, message))


def _with_what_serves(message: str, serving: Sequence[int]) -> str:
    """While an old version serves and a new one fails, say both; the first part gives way where both are too long."""
    if not serving:
        return message
    still = f" Meanwhile {_versions(serving)} {'serves' if len(serving) == 1 else 'serve'}."
    return _short(message, _MESSAGE_LENGTH - len(still)) + still


def _verdict(subject: Subject, view: ModelView, serving: Sequence[int]) -> _Verdict:
    """Decide in order of weight: what blocks everything, the versions, their proof, the pods."""
    if view.blocked is not None:
        message = _with_what_serves(view.blocked.message, serving)
        if view.blocked.is_final:
            return _stalled(view.blocked.reason, message)
        return _working(view.blocked.reason, message, retrying=True)
    if subject.is_paused:
        return _paused_verdict(subject, view, serving)
    if view.config_failure is not None:
        return _config_verdict(view.config_failure, serving)
    troubled = _first_trouble(view, chosen_only=True)
    if troubled is not None:
        return _version_verdict(troubled, serving)
    if not view.versions:
        return _working(reasons.SYNC_PENDING, "Nothing is known of the versions yet.")
    verified = _verified(view)
    if verified.status == "False":
        return _stalled(verified.reason, verified.message)
    return _pods_verdict(subject, view, serving)


def _config_verdict(failure: Failure, serving: Sequence[int]) -> _Verdict:
    """Speak of a configuration that pods do not take; of a version, where the failure is one's."""
    what = "The new configuration is not taken over" if failure.version is None else f"version {failure.version}"
    message = f"{what}: {failure.message.rstrip('.')}."
    if not failure.is_final:
        return _working(failure.reason, _with_what_serves(message, serving), retrying=True)
    if failure.reason in {reasons.SERVER_REJECTED, reasons.GOLDEN_CHECK_FAILED, reasons.SERVER_FAILED}:
        message += " Correct the spec."
    return _stalled(failure.reason, _with_what_serves(message, serving))


def _paused_verdict(subject: Subject, view: ModelView, serving: Sequence[int]) -> _Verdict:
    """Speak of what serves alone: what the spec asks for beyond that waits, and is nobody's failure."""
    verified = _verified(view)
    if verified.status == "False":
        return _stalled(verified.reason, verified.message)
    if not serving:
        message = "No proven pod serves, and while spec.paused is true nothing is done about it: set it to false."
        return _Verdict(Said("False", reasons.PAUSED, message))
    count = sum(1 for p in view.pods if _is_proven(p))
    if not any(_is_proven(p) and p.is_current for p in view.pods):
        message = (
            f"spec.paused stopped a change midway: {_versions(serving)} on {_pods(count)}, none with what is committed."
        )
        return _Verdict(Said("Unknown", reasons.PAUSED, message))
    message = f"{_versions(serving)} of {subject.model_name} on {_pods(count)}, proven by the golden check."
    return _Verdict(Said("True", reasons.SERVING, message))


def _paused(subject: Subject) -> Said | None:
    if not subject.is_paused:
        return None
    message = "spec.paused is true: nothing is changed, and edits wait, until it is false. What serves goes on serving."
    return Said("True", reasons.PAUSED, message)


def _version_verdict(version: Version, serving: Sequence[int]) -> _Verdict:
    """Speak of a version that the policy chooses and that cannot serve yet, or at all."""
    what = f"version {version.number}: "
    others = [v for v in serving if v != version.number]
    if version.failure is None:
        reason = reasons.SYNCING if version.is_begun else reasons.SYNC_PENDING
        return _working(reason, _with_what_serves(f"{what}{version.progress.rstrip('.')}.", others))
    message = _with_what_serves(what + version.failure.message, serving)
    if version.failure.is_final:
        return _stalled(version.failure.reason, message)
    return _working(version.failure.reason, message, retrying=True)


def _pods_verdict(subject: Subject, view: ModelView, serving: Sequence[int]) -> _Verdict:
    if subject.replicas == 0:
        return _Verdict(
            Said("False", reasons.SCALED_TO_ZERO, "spec.serving.replicas is 0: set it to 1 or more to serve.")
        )
    proven = [p for p in view.pods if p.is_current and _is_proven(p)]
    ready = [p for p in view.pods if is_ready(p.pod)]
    count = f"{len(proven)} of {subject.replicas} pods"
    trouble = next((t for t in (find_trouble(p.pod) for p in view.pods) if t), view.refused_pods)
    if view.pending and serving:
        message = (
            f"{_versions(view.target)} with the current configuration goes to {_pods(view.pending)}, proven first."
        )
        return _working(reasons.ROLLING_OUT, _with_what_serves(message, serving))
    if proven and view.is_rolling:
        message = f"Pods are replaced by those of the new spec{f'; {trouble}' if trouble else ''}".rstrip(".") + "."
        return _working(reasons.ROLLING_OUT, _with_what_serves(message, serving))
    if proven and len(proven) == len(ready):
        message = f"{_versions(view.committed)} of {subject.model_name} on {count}, proven by the golden check."
        said = Said("True", reasons.SERVING, message)
        if len(proven) >= subject.replicas:
            return _Verdict(said)
        return _Verdict(said, reconciling=Said("True", reasons.PROGRESSING, trouble or f"{count} are ready."))
    if trouble:
        return _working(reasons.SERVER_FAILED, _with_what_serves(trouble, serving), retrying=True)
    if serving:
        return _working(reasons.ROLLING_OUT, _with_what_serves(f"{count} have the new configuration.", serving))
    message = f"{count} are proven: Triton is starting, loading the model, or answering the golden check."
    return _working(reasons.PODS_NOT_READY, message)


def _state(version: Version, view: ModelView, serving: Sequence[int]) -> VersionState:
    if version.failure is not None and version.failure.is_final and version.number not in serving:
        return VersionState.FAILED
    if not version.is_synced:
        return VersionState.SYNCING if version.is_begun else VersionState.PENDING
    if version.number in view.target and version.number not in view.committed and view.pending:
        return VersionState.SWITCHING if version.number in serving else VersionState.PROVING
    if version.number in serving:
        return VersionState.SERVING
    return VersionState.SYNCED if version.number in view.chosen else VersionState.RETIRED


def _version_status(version: Version, view: ModelView, serving: Sequence[int]) -> VersionStatus:
    told = version.failure.message if version.failure else version.progress
    return VersionStatus(
        version=version.number,
        state=_state(version, view, serving),
        sha256=version.record.sha256 if version.record else None,
        bytes=version.record.size_bytes if version.record else None,
        embedding_space_id=version.space_id,
        message=_short(told) if told else None,
    )


def _listed(view: ModelView, serving: Sequence[int]) -> list[Version]:
    """Choose the versions that status has room for, lowest first. Those that leave come beside a full spec: what serves must be told, then what is chosen."""

    def weight(version: Version) -> tuple[bool, tuple[bool, bool, bool, int]]:
        return (version.number in serving, _weight(version, view))

    kept = sorted(view.versions, key=weight, reverse=True)[:MAX_VERSIONS]
    return sorted(kept, key=lambda v: v.number)


def _conditions(said: dict[str, Said | None], subject: Subject, now: datetime) -> list[Condition]:
    before = {c.type: c for c in subject.previous.conditions}
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = []
    for kind, content in said.items():
        if content is None:
            continue
        old = before.get(kind)
        since = old.last_transition_time if old and old.status == content.status else stamp
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


def assess_status(subject: Subject, view: ModelView, *, now: datetime) -> ClipModelStatus:
    """Say what is."""
    serving = serving_versions(view)
    verdict = _verdict(subject, view, serving)
    said = {
        reasons.READY: verdict.ready,
        reasons.RECONCILING: verdict.reconciling,
        reasons.STALLED: verdict.stalled,
        reasons.PAUSED: _paused(subject),
        reasons.SYNCED: _synced(view),
        reasons.VERIFIED: _verified(view),
        reasons.AVAILABLE: _available(serving, subject, view),
    }
    versions = [_version_status(v, view, serving) for v in _listed(view, serving)]
    return ClipModelStatus(
        observed_generation=subject.generation,
        conditions=_conditions(said, subject, now),
        profile=subject.profile,
        model_name=subject.model_name,
        versions=versions or subject.previous.versions,
        serving_versions=list(serving),
        rollout=view.rollout,
        pods=list(view.pod_list),
        endpoints=subject.endpoints,
        replicas=sum(1 for p in view.pods if "deletionTimestamp" not in p.pod["metadata"]),
        ready_replicas=sum(1 for p in view.pods if p.is_current and _is_proven(p)),
        selector=",".join(f"{k}={v}" for k, v in sorted(names.selector_labels(subject.name).items())),
    )


def blocked_by(reason: str, message: str, *, is_final: bool) -> Failure:
    """Say why a pass could not go on."""
    return Failure(reason, _short(message), is_final)
