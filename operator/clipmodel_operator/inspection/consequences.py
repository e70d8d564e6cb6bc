"""What do differences do to what runs? Which pods restart, what running servers take over, what is fetched first, what is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clipmodel_operator.assessment.pods import is_ending
from clipmodel_operator.inspection.difference import ObjectDiff
from clipmodel_operator.inspection.words import format_numbers
from clipmodel_operator.models.update_strategy import UpdateStrategy
from clipmodel_operator.planning.expected import Expected
from clipmodel_operator.rendering.config_map import PROBE_KEY

Kind = Literal["refused", "fetch", "restart", "live", "next", "remove", "made"]


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


def _pods(
    diffs: Sequence[ObjectDiff], pods: Sequence[Mapping[str, Any]], replicas: int, strategy: UpdateStrategy
) -> list[Consequence]:
    if not any(d.restarts for d in diffs):
        return []
    running = sorted(p["metadata"]["name"] for p in pods if not is_ending(p))
    if not running:
        return [Consequence("restart", "the pod template changes; no pod runs now.")]
    changes = f"the pod template changes: {', '.join(running)}, replaced one at a time"
    is_gap = min(len(running), replicas) <= 1
    if strategy.has_surge:
        order = "each new pod is ready before an old one goes, where there is room for one pod more"
        return [Consequence("restart", f"{changes}; {order}{', else with a gap in service' if is_gap else ''}.")]
    gap = "With one pod that is a gap in service" if is_gap else "The others go on answering"
    return [Consequence("restart", f"{changes}. {gap}: {strategy.why}.")]


def _config(diffs: Sequence[ObjectDiff], expected: Expected) -> list[Consequence]:
    changed = next((d for d in diffs if d.kind == "ConfigMap" and not d.is_new), None)
    if changed is None:
        return []
    listed = []
    if any(entry.endswith(".pbtxt") for entry in changed.entries):
        is_other = bool(expected.serving) and expected.before != expected.serving
        what = f"{_plural(expected.serving)}, by a new config.pbtxt" if is_other else "config.pbtxt"
        message = f"{what}: taken over by running servers without a restart, pod by pod, proven first."
        listed.append(Consequence("live", message))
    if PROBE_KEY in changed.entries:
        listed.append(Consequence("next", "the startup probe's program is read when a pod starts next."))
    if not listed:
        listed.append(Consequence("live", "the record of what serves is written anew; servers are not touched."))
    return listed


def list_consequences(
    diffs: Sequence[ObjectDiff], expected: Expected, *, pods: Sequence[Mapping[str, Any]], replicas: int
) -> list[Consequence]:
    """List what would happen, what hurts first."""
    listed = [*_versions(expected), *_pods(diffs, pods, replicas, expected.strategy), *_config(diffs, expected)]
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
