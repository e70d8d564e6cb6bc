"""Following without a terminal: one line for each thing that changed, so that a log of it reads as a story.

Ages and other numbers that always move are left out; a download says something every ten percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clipmodel_operator.inspection.overview import Overview, PodFacts, RolloutFacts, VersionFacts
from clipmodel_operator.inspection.words import format_numbers

_PERCENT_STEP = 10


def _version_line(version: VersionFacts) -> str:
    line = f"version {version.version} {version.state}"
    progress = version.progress
    if progress is None:
        return f"{line}: {version.message}" if version.message else line
    if progress.percent is None:
        return f"{line}: {progress.step}"
    return f"{line}: {progress.percent // _PERCENT_STEP * _PERCENT_STEP} % of {progress.total}"


def _pod_line(pod: PodFacts) -> str:
    loaded = (
        "" if pod.loaded is None else f", loaded {format_numbers(tuple(e.version for e in pod.loaded)) or 'nothing'}"
    )
    trouble = f": {pod.trouble}" if pod.trouble else ""
    restarts = f", {pod.restarts} restarts" if pod.restarts else ""
    revision = f", revision {pod.revision}" if pod.revision else ""
    return f"pod {pod.name} {'ready' if pod.ready else 'not ready'} ({pod.phase}{restarts}){loaded}{revision}{trouble}"


def _revision_line(rollout: RolloutFacts) -> str:
    proven = rollout.proven_revision or "none"
    if rollout.is_at_rest:
        return f"revision {proven} proven"
    tries = f", {rollout.tries} {'try' if rollout.tries == 1 else 'tries'}" if rollout.tries else ""
    again = f", not before {rollout.not_before}" if rollout.not_before else ""
    reason = f": {rollout.reason}" if rollout.reason else ""
    return f"revision {rollout.target_revision} {rollout.phase or 'wanted'}{tries}{again}, proven {proven}{reason}"


def facts_of(overview: Overview) -> dict[str, str]:
    """Give what is worth a line, by what it is about."""
    facts = {"": f"{overview.outcome.value}, {overview.reason}: {overview.message}"}
    if overview.rollout is not None:
        facts["revision"] = _revision_line(overview.rollout)
    facts |= {f"version {v.version}": _version_line(v) for v in overview.versions}
    facts |= {f"pod {p.name}": _pod_line(p) for p in overview.pods}
    facts |= {f"note {n}": f"note: {n}" for n in overview.notes}
    return facts


def changed_lines(before: Mapping[str, str] | None, after: Mapping[str, str]) -> Sequence[str]:
    """List what is new or different, then what is gone."""
    known = before or {}
    lines = [line for about, line in after.items() if known.get(about) != line]
    return [
        *lines,
        *(f"{about} is gone" for about in known if about not in after and about.startswith(("pod ", "version "))),
    ]
