"""What do differences do to what runs? Which pods restart, what running servers take over, what is fetched first, what is refused. Pure.

Where status knows of revisions it is said of them: which one is proven, and how another one would reach the servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clipmodel_operator.api.v1alpha1.status import RolloutPhase, RolloutStatus
from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.inspection.difference import ObjectDiff
from clipmodel_operator.inspection.revisions import Ask, Revisions, is_config
from clipmodel_operator.inspection.words import format_numbers, shorten
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.expected import Expected
from clipmodel_operator.rendering.config_map import PROBE_KEY

Kind = Literal["refused", "fetch", "restart", "live", "verify", "next", "remove", "made"]
_PROVES = "running servers prove it whole under a name that no client asks for, one pod first, and then load it, without a restart"
_TWO_COPIES = "Meanwhile each holds two copies of the model"


@dataclass(frozen=True, slots=True)
class Consequence:
    """One thing that would happen."""

    kind: Kind
    message: str


def _plural(numbers: Sequence[int]) -> str:
    return f"version{'' if len(numbers) == 1 else 's'} {format_numbers(tuple(numbers))}"


def _versions(expected: Expected) -> list[Consequence]:
    listed = [
        Consequence("refused", f"version {v}: {why}{_still(expected.before)}") for v, why in expected.refused.items()
    ]
    listed += [
        Consequence(
            "refused",
            f"version {v} is on the volume with another digest (VersionImmutable): give the new bytes a new number.",
        )
        for v in expected.other_bytes
    ]
    fetched = [v for v in expected.unproven if v not in expected.other_bytes]
    if fetched:
        message = f"{_plural(fetched)} is fetched and proven first, by a sync Job; its golden vectors are made there and not shown here."
        listed.append(Consequence("fetch", message + _still(expected.before)))
    return listed


def _still(before: Sequence[int]) -> str:
    return f" Until then {_plural(before)} serves on." if before else ""


def changes_config(diffs: Sequence[ObjectDiff]) -> bool:
    """Tell whether pods that start would read another configuration than now: another text, or another ConfigMap."""
    of = [d for d in diffs if d.kind == "ConfigMap"]
    return any(d.is_new or any(is_config(entry) for entry in d.entries) for d in of)


def _running(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(p["metadata"]["name"] for p in pods if not is_ending(p))


def _why_replaced(diffs: Sequence[ObjectDiff], revisions: Revisions | None) -> str | None:
    """Say why pods would be replaced; None where they would not."""
    if revisions is not None and revisions.goes_by_new_pods:
        status = revisions.status
        than = f"{shorten(status.proven_revision)}, which is proven"
        if not revisions.is_reached:  # it may be the proven one again
            than = f"{shorten(status.target_revision)}, which is the target"
        return f"another revision than {than}, by new pods (rollout.strategy Replace)"
    return "the pod template changes" if any(d.restarts for d in diffs) else None


def _pods(
    why: str | None, pods: Sequence[Mapping[str, Any]], replicas: int, strategy: UpdateStrategy
) -> list[Consequence]:
    if why is None:
        return []
    running = _running(pods)
    if not running:
        return [Consequence("restart", f"{why}; no pod runs now.")]
    changes = f"{why}: {', '.join(running)}, replaced one at a time"
    is_gap = min(len(running), replicas) <= 1
    if strategy.has_surge:
        order = "each new pod is ready before an old one goes, where there is room for one pod more"
        return [Consequence("restart", f"{changes}; {order}{', else with a gap in service' if is_gap else ''}.")]
    gap = "With one pod that is a gap in service" if is_gap else "The others go on answering"
    return [Consequence("restart", f"{changes}. {gap}: {strategy.why}.")]


def _attempt(status: RolloutStatus) -> Consequence:
    """Say how far the target is that the spec in the cluster asks for, as the file does."""
    which = f"revision {shorten(status.target_revision)} is what the spec asks for already"
    tries = f", tried {status.tries} {'time' if status.tries == 1 else 'times'}" if status.tries else ""
    why = f" ({status.reason.rstrip('.')})" if status.reason else ""
    serves = f" Revision {shorten(status.proven_revision)}, which is proven, serves." if status.proven_revision else ""
    if status.phase is None and not status.reason:
        return Consequence("live", f"{which}, and is about to be tried.{serves}")
    if status.phase not in {None, RolloutPhase.WAITING}:
        return Consequence("live", f"{which}, and is on its way: {status.phase}{tries}.{serves}")
    if status.not_before is not None:
        return Consequence(
            "live", f"{which}. It failed{tries}{why}, and is tried again not before {status.not_before}.{serves}"
        )
    return Consequence("refused", f"{which}. It failed{tries}{why}, and is not tried again by itself.{serves}")


def _in_place(revisions: Revisions, what: str, *, has_pods: bool, restarts: bool) -> str:
    """Say how another revision than the proven one reaches the servers where the strategy leaves them running."""
    status = revisions.status
    if status.proven_revision is None:
        return f"{what}: no revision is proven yet; servers start on this one."
    which = f"{what}: another revision than {shorten(status.proven_revision)}, which is proven"
    if revisions.is_beyond_pods:
        return f"{which}; pods that run cannot hold it (another profile, or more GPUs), so the new ones start with it."
    if not has_pods:
        return f"{which}. Pods that start, start on that one; then {_PROVES}."
    return f"{which}; {'once the pods are replaced ' if restarts else ''}{_PROVES}. {_TWO_COPIES}."


def _revisions(
    revisions: Revisions, expected: Expected, *, is_config_new: bool, has_pods: bool, restarts: bool
) -> list[Consequence]:
    """Say what becomes of the revision that is asked for."""
    status = revisions.status
    proven, target = shorten(status.proven_revision), shorten(status.target_revision)
    match revisions.ask:
        case Ask.TARGET:
            return [_attempt(status)] if revisions.is_observed and not revisions.is_reached else []
        case Ask.TOLERANCE:
            message = (
                f"only the tolerance changes: a revision that differs from {proven if revisions.is_reached else target} in nothing else. "
                "Running servers are asked for their embeddings again; nothing is loaded, and no pod restarts."
            )
            return [Consequence("verify", message)]
        case Ask.OTHER if revisions.goes_by_new_pods:
            message = f"revision {proven}, which is proven, serves on until the new pods are ready, and again where one fails."
            return [Consequence("live", message)]
        case Ask.OTHER if status.proven_revision and not is_config_new:
            message = f"revision {proven}, which is proven, is asked for again: revision {target} is given up, and pods that have it go back."
            return [] if revisions.is_reached else [Consequence("live", message)]
        case Ask.OTHER:
            is_pending = status.target_revision is not None and not revisions.is_reached
            instead = f" It takes the place of revision {target}, which is not proven." if is_pending else ""
            how = _in_place(revisions, _what(expected), has_pods=has_pods, restarts=restarts)
            return [Consequence("live", how + instead)]


def _what(expected: Expected) -> str:
    is_other = bool(expected.serving) and expected.before != expected.serving
    return f"{_plural(expected.serving)}, by a new config.pbtxt" if is_other else "config.pbtxt"


def _config(
    diffs: Sequence[ObjectDiff], expected: Expected, revisions: Revisions | None, *, has_pods: bool
) -> list[Consequence]:
    changed = next((d for d in diffs if d.kind == "ConfigMap" and not d.is_new), None)
    is_config_new = changes_config(diffs)
    listed = []
    if revisions is not None:
        restarts = any(d.restarts for d in diffs)
        listed += _revisions(revisions, expected, is_config_new=is_config_new, has_pods=has_pods, restarts=restarts)
    elif is_config_new and changed is not None:
        message = f"{_what(expected)}: taken over by running servers without a restart, pod by pod, proven first."
        listed.append(Consequence("live", message))
    if changed is None:
        return listed
    if PROBE_KEY in changed.entries:
        listed.append(Consequence("next", "the startup probe's program is read when a pod starts next."))
    if not listed:
        listed.append(Consequence("live", "the record of what serves is written anew; servers are not touched."))
    return listed


def list_consequences(
    diffs: Sequence[ObjectDiff],
    expected: Expected,
    *,
    pods: Sequence[Mapping[str, Any]],
    replicas: int,
    revisions: Revisions | None = None,
) -> list[Consequence]:
    """List what would happen, what hurts first."""
    listed = [
        *_versions(expected),
        *_pods(_why_replaced(diffs, revisions), pods, replicas, expected.strategy),
        *_config(diffs, expected, revisions, has_pods=bool(_running(pods))),
    ]
    for diff in diffs:
        if diff.is_new and diff.kind != "Job":
            listed.append(Consequence("made", f"{diff.kind} {diff.name}"))
        elif diff.kind == "PersistentVolumeClaim":
            listed.append(Consequence("live", "the claim is changed; growing needs a StorageClass that can expand."))
        elif diff.kind == "Deployment" and not diff.restarts:
            listed.append(Consequence("live", "the Deployment is changed without replacing pods."))
        elif diff.kind not in {"Deployment", "ConfigMap", "Job"}:
            listed.append(Consequence("live", f"{diff.kind} {diff.name} is changed; pods are not touched."))
    if any(d.is_new and d.kind == "Deployment" for d in diffs):
        listed.append(Consequence("made", "the Secret of the control key: derived in the cluster, not shown."))
    listed += [
        Consequence("remove", f"Job {name}, which has ended or is of a source that the spec has no more.")
        for name in expected.removed_jobs
    ]
    return listed
