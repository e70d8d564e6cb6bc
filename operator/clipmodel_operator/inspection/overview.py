"""What is shown of one ClipModel: from the objects that were read to frozen facts. Pure; nothing here knows of colours or terminals.

Objects are read by hand and not through the API's types: in an incident the command line may be of another release than the cluster, and must
show what is there all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from clipmodel_contract.names import default_model_name
from clipmodel_operator.assessment.pods import find_trouble, is_ending, is_ready
from clipmodel_operator.inspection.codes import StatusCode
from clipmodel_operator.inspection.progress import Progress, parse_progress
from clipmodel_operator.models import names, reasons

Object = Mapping[str, Any]


class Outcome(StrEnum):
    """The one question: do clients get what the spec says?"""

    READY = "Ready"
    PROGRESSING = "Progressing"
    NOT_READY = "NotReady"

    @property
    def code(self) -> StatusCode:
        match self:
            case Outcome.READY:
                return StatusCode.READY
            case Outcome.PROGRESSING:
                return StatusCode.PROGRESSING
            case Outcome.NOT_READY:
                return StatusCode.NOT_READY


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of one ClipModel."""

    clip: Object
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    """The end of a sync pod's log, by pod."""
    stats: Mapping[str, str] = field(default_factory=dict)
    """What a pod's Triton says of its loaded versions (its statistics endpoint), by pod."""
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version."""

    version: int
    state: str
    chosen: bool
    """By the version policy."""
    sha256: str | None
    bytes: int | None
    space: str | None
    message: str | None
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class ConditionFacts:
    """One condition."""

    type: str
    status: str
    reason: str
    message: str
    age_s: float | None
    is_current: bool
    """It is of the present spec."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that a pod's Triton has loaded, and the requests that it has answered since."""

    version: int
    answered: int
    failed: int


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """The revisions (all that decides what servers answer), and the attempt to bring pods from the proven one to the target."""

    proven_revision: str | None
    target_revision: str | None
    phase: str | None
    """None at rest."""
    tries: int | None
    not_before: str | None
    """When the target is tried again at the earliest, as status has it."""
    due_s: float | None
    """The same in seconds from now."""
    reason: str | None
    """Why the last try failed."""
    advice: str | None
    """What a person can do to have the target tried."""
    is_current: bool = True
    """It is of the present spec."""

    @property
    def is_at_rest(self) -> bool:
        return self.phase is None and self.proven_revision == self.target_revision is not None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One Triton pod."""

    name: str
    phase: str
    ready: bool
    restarts: int
    node: str | None
    age_s: float | None
    profile: str | None
    loaded: tuple[Loaded, ...] | None
    """None where it could not be asked."""
    trouble: str | None
    revision: str | None = None
    """None where it is not known."""


@dataclass(frozen=True, slots=True)
class EventFacts:
    """One event, of the ClipModel or of what was made of it."""

    age_s: float | None
    type: str
    reason: str
    about: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """One ClipModel."""

    namespace: str
    name: str
    outcome: Outcome
    reason: str
    message: str
    """Why, and what to do: the words of the condition Ready."""
    stalled: bool
    """Nothing changes until a person acts."""
    profile: str | None
    model_name: str
    policy: str
    serving_versions: tuple[int, ...]
    replicas: int
    ready_replicas: int
    age_s: float | None
    endpoints: Mapping[str, str]
    versions: tuple[VersionFacts, ...]
    conditions: tuple[ConditionFacts, ...]
    pods: tuple[PodFacts, ...]
    events: tuple[EventFacts, ...]
    notes: tuple[str, ...]
    strategy: str = "InPlace"
    """How a change of what servers answer reaches them."""
    rollout: RolloutFacts | None = None
    """None where status has none: before the first sync, or of an older operator."""

    @property
    def is_settled(self) -> bool:
        """Tell whether waiting changes nothing: it is ready, a person must act, or nothing is wanted."""
        return self.outcome is Outcome.READY or self.stalled or self.reason == reasons.SCALED_TO_ZERO


def _seconds_until(stamp: object, now: datetime) -> float | None:
    try:
        then = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    return (then.astimezone(UTC) - now).total_seconds()


def _age_s(stamp: object, now: datetime) -> float | None:
    until = _seconds_until(stamp, now)
    return None if until is None else max(0.0, -until)


def _labels(obj: Object) -> Mapping[str, Any]:
    return obj["metadata"].get("labels") or {}


def describe_policy(spec: Object) -> str:
    """Say which versions the policy chooses, in a few words."""
    policy = spec.get("versionPolicy") or {}
    if policy.get("specific") is not None:
        return "specific " + ", ".join(str(v) for v in policy["specific"].get("versions") or ())
    if policy.get("all") is not None:
        return "all"
    return f"latest {(policy.get('latest') or {}).get('count', 1)}"


def _chosen(spec: Object) -> frozenset[int]:
    policy = spec.get("versionPolicy") or {}
    numbers = sorted(v["version"] for v in spec.get("versions") or ())
    if policy.get("specific") is not None:
        return frozenset(policy["specific"].get("versions") or ())
    if policy.get("all") is not None:
        return frozenset(numbers)
    return frozenset(numbers[-(policy.get("latest") or {}).get("count", 1) :])


def _version_of_sync_pod(pod: Object) -> int | None:
    """Read for which version a sync pod works: its Job's name is shortened, its arguments are not."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for argument in container.get("args") or ():
            if argument.startswith("--version="):
                return int(argument.removeprefix("--version="))
    return None


def _progress(found: Found) -> Mapping[int, Progress]:
    progress: dict[int, Progress] = {}
    for pod in found.pods:
        version = _version_of_sync_pod(pod)
        read = parse_progress(found.logs.get(pod["metadata"]["name"], ""))
        if version is not None and read is not None and not is_ending(pod):
            progress[version] = read
    return progress


def _versions(found: Found) -> tuple[VersionFacts, ...]:
    spec, status = found.clip.get("spec") or {}, found.clip.get("status") or {}
    chosen, progress = _chosen(spec), _progress(found)
    told = {v["version"]: v for v in status.get("versions") or ()}
    numbers = sorted({*told, *(v["version"] for v in spec.get("versions") or ())}, reverse=True)
    return tuple(
        VersionFacts(
            version=n,
            state=told.get(n, {}).get("state", "Pending"),
            chosen=n in chosen,
            sha256=told.get(n, {}).get("sha256"),
            bytes=told.get(n, {}).get("bytes"),
            space=told.get(n, {}).get("embeddingSpaceId"),
            message=told.get(n, {}).get("message"),
            progress=progress.get(n),
        )
        for n in numbers
    )


def _conditions(clip: Object, now: datetime) -> tuple[ConditionFacts, ...]:
    generation = clip["metadata"].get("generation")
    return tuple(
        ConditionFacts(
            type=c["type"],
            status=c["status"],
            reason=c.get("reason", ""),
            message=c.get("message", ""),
            age_s=_age_s(c.get("lastTransitionTime"), now),
            is_current=c.get("observedGeneration", generation) == generation,
        )
        for c in (clip.get("status") or {}).get("conditions") or ()
    )


def retry_command(namespace: str, name: str) -> str:
    """Give the command that has what failed tried again at once; each call of it gives another value."""
    return f'kubectl annotate -n {namespace} clip {name} {names.ANNOTATION_RETRY}="$(date +%s)" --overwrite'


def _advice(clip: Object, rollout: Object) -> str | None:
    """Say what has a target tried that waits: nothing where it is on its way, or is reached."""
    target, phase = rollout.get("targetRevision"), rollout.get("phase")
    if target is None or phase not in {None, "Waiting"} or (phase is None and target == rollout.get("provenRevision")):
        return None
    if (clip.get("spec") or {}).get("paused"):
        return "Nothing is tried while spec.paused is true."
    if phase is None and rollout.get("reason") is None:
        return None  # it has not begun yet
    retry = retry_command(clip["metadata"]["namespace"], clip["metadata"]["name"])
    if rollout.get("notBefore") is None:
        return (
            f"It is not tried again by itself. Correct the spec; or, where the cause is mended outside of it: {retry}"
        )
    return f"To have it tried at once: {retry}"


def _rollout(clip: Object, now: datetime) -> RolloutFacts | None:
    status = clip.get("status") or {}
    rollout = status.get("rollout")
    if not rollout:
        return None
    is_current = status.get("observedGeneration") == clip["metadata"].get("generation")
    return RolloutFacts(
        proven_revision=rollout.get("provenRevision"),
        target_revision=rollout.get("targetRevision"),
        phase=rollout.get("phase"),
        tries=rollout.get("tries"),
        not_before=rollout.get("notBefore"),
        due_s=_seconds_until(rollout.get("notBefore"), now),
        reason=rollout.get("reason"),
        advice=_advice(clip, rollout) if is_current else None,
        is_current=is_current,
    )


def read_loaded(stats: str | None) -> tuple[Loaded, ...] | None:
    """Read Triton's statistics of a model: it lists the versions that are loaded. None for what is no answer of Triton's."""
    try:
        entries = json.loads(stats or "")["model_stats"]
        return tuple(
            sorted(
                (
                    Loaded(
                        int(e["version"]),
                        int(e["inference_stats"]["success"].get("count", 0)),
                        int(e["inference_stats"]["fail"].get("count", 0)),
                    )
                    for e in entries
                ),
                key=lambda loaded: loaded.version,
            )
        )
    except (ValueError, KeyError, TypeError):
        return None


def _phase(pod: Object) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    return str(status.get("phase") or "Unknown")


def _pod(pod: Object, found: Found, now: datetime) -> PodFacts:
    name = pod["metadata"]["name"]
    revisions = {p["name"]: p.get("revision") for p in (found.clip.get("status") or {}).get("pods") or ()}
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return PodFacts(
        name=name,
        phase=_phase(pod),
        ready=is_ready(pod),
        restarts=sum(c.get("restartCount", 0) for c in containers),
        node=(pod.get("spec") or {}).get("nodeName"),
        age_s=_age_s(pod["metadata"].get("creationTimestamp"), now),
        profile=(pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_PROFILE),
        loaded=read_loaded(found.stats.get(name)),
        trouble=find_trouble(pod),
        revision=revisions.get(name),
    )


def _events(events: Sequence[Object], now: datetime) -> tuple[EventFacts, ...]:
    """Put events in order, newest last."""

    def stamp(event: Object) -> str:
        series = event.get("series") or {}
        return str(
            series.get("lastObservedTime")
            or event.get("lastTimestamp")
            or event.get("eventTime")
            or event["metadata"].get("creationTimestamp")
            or ""
        )

    def about(event: Object) -> str:
        involved = event.get("involvedObject") or {}
        if involved.get("kind") == names.KIND:
            return ""
        return f"{involved.get('kind', '')}/{involved.get('name', '')}".lower()

    return tuple(
        EventFacts(
            age_s=_age_s(stamp(e), now),
            type=e.get("type", "Normal"),
            reason=e.get("reason", ""),
            about=about(e),
            message=" ".join(str(e.get("message", "")).split()),
            count=(e.get("series") or {}).get("count") or e.get("count") or 1,
        )
        for e in sorted(events, key=lambda e: (stamp(e), e["metadata"]["name"]))
    )


def assess_outcome(clip: Object) -> tuple[Outcome, str, str]:
    """Answer the one question, with reason and message: the condition Ready, if it is of the present spec."""
    metadata, status = clip["metadata"], clip.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == reasons.READY), None)
    if "deletionTimestamp" in metadata:
        return Outcome.NOT_READY, "Deleting", "It is being deleted."
    if ready is None:
        message = "The operator has not looked at it yet. If that lasts: does it run, and does it serve this namespace?"
        return Outcome.PROGRESSING, "NotObserved", message
    if status.get("observedGeneration") != metadata.get("generation"):
        message = (
            f"The operator has not looked at the latest edit yet. Of the spec before it: {ready.get('message', '')}"
        )
        return Outcome.PROGRESSING, "NotObserved", message
    match ready["status"]:
        case "True":
            outcome = Outcome.READY
        case "False":
            outcome = Outcome.NOT_READY
        case _:
            outcome = Outcome.PROGRESSING
    return outcome, ready.get("reason", ""), ready.get("message", "")


def assess_overview(found: Found, *, now: datetime) -> Overview:
    """Say what is to be shown."""
    clip = found.clip
    metadata, spec, status = clip["metadata"], clip.get("spec") or {}, clip.get("status") or {}
    outcome, reason, message = assess_outcome(clip)
    conditions = _conditions(clip, now)
    servers = [p for p in found.pods if _labels(p).get(names.LABEL_COMPONENT) == names.COMPONENT_SERVER]
    return Overview(
        namespace=metadata["namespace"],
        name=metadata["name"],
        outcome=outcome,
        reason=reason,
        message=message,
        stalled=any(c.type == reasons.STALLED and c.status == "True" and c.is_current for c in conditions),
        profile=status.get("profile") or spec.get("profile"),
        model_name=status.get("modelName") or spec.get("modelName") or default_model_name(metadata["name"]),
        policy=describe_policy(spec),
        serving_versions=tuple(status.get("servingVersions") or ()),
        replicas=(spec.get("serving") or {}).get("replicas", 1),
        ready_replicas=status.get("readyReplicas", 0),
        age_s=_age_s(metadata.get("creationTimestamp"), now),
        endpoints=dict(status.get("endpoints") or {}),
        versions=_versions(found),
        conditions=conditions,
        pods=tuple(_pod(p, found, now) for p in sorted(servers, key=lambda p: str(p["metadata"]["name"]))),
        events=_events(found.events, now),
        notes=found.notes,
        strategy=(spec.get("rollout") or {}).get("strategy", "InPlace"),
        rollout=_rollout(clip, now),
    )


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Give the outcome of several ClipModels; none at all is nothing to complain of."""
    order = (Outcome.NOT_READY, Outcome.PROGRESSING, Outcome.READY)
    return next((o for o in order if o in outcomes), Outcome.READY)
