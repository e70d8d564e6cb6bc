"""Has the open attempt failed, and of what? From what came of steps on pods, and from how their containers ended."""

from __future__ import annotations

from clipmodel_operator.assessment.pods import (
    has_ended,
    is_crashing,
    is_ending,
    last_end,
    restarts,
    run_of,
    slot_of,
    uid_of_run,
)
from clipmodel_operator.models import reasons
from clipmodel_operator.models.attempt import Attempt, FailedAttempt, Phase
from clipmodel_operator.models.observed import Outcome, PodView
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.step import Step, StepKind
from clipmodel_operator.planning.failures import make_failure
from clipmodel_operator.planning.situation import Situation

#: Ends of a pod without any load of ours after which what is proven is taken not to start.
STARTS_BEFORE_TRIAL = 2
#: Restarts of a pod on trial that may have been with what was mounted before: kubelet refreshes within some 90 s.
_STALE_RESTARTS = 4
#: The light image has a process for each version; where one is killed, the server goes on and says this.
_LIGHT_IMAGE_KILLED = "is not healthy"
#: Answers in a row that one pod may lose while others have switched.
_LOST_SWITCHES = 5
#: Reason, message, and the version that it is due to, where one can be named.
_Found = tuple[str, str, int | None]


def find_failure(s: Situation, attempt: Attempt) -> FailedAttempt | None:
    """Find why the open attempt has failed: also where the spec asks for something else by now, for it may ask for the same again."""
    target, is_counted = attempt.target, attempt.phase is Phase.RETURNING
    if is_counted and any(f.is_final for f in s.record.failures if (f.revision, f.template) == (target.id, s.template)):
        return None
    members = {uid_of_run(run): run for run in attempt.pods}
    for view in s.views:
        found = _find_on(s, view, attempt, members)
        if found is not None:
            reason, message, version = found
            version = version if version is not None else _only_new_version(s, target)
            return make_failure(
                s.record,
                target,
                template=s.template,
                reason=reason,
                message=message,
                version=version,
                now=s.now,
                # What pods say one after another of one try counts once.
                counted=attempt.tries if is_counted else 0,
            )
    return None


def _find_on(s: Situation, view: PodView, attempt: Attempt, members: dict[str, str]) -> _Found | None:
    found = _verdict(s, view, attempt)
    if found is not None:
        return found
    match attempt.phase:
        case Phase.PROVING | Phase.SWITCHING:
            return _death(s, view, attempt, members.get(view.pod["metadata"]["uid"]))
        case Phase.REPLACING:
            # One that was evicted stays, and may have read that slot long ago.
            is_new = slot_of(view.pod) == attempt.slot and not is_ending(view.pod)
            return _bad_start(s, view, attempt.target) if is_new else None
        case Phase.TRIAL:
            return _bad_trial(view, attempt)
        case Phase.RETURNING:
            return None


def _verdict(s: Situation, view: PodView, attempt: Attempt) -> _Found | None:
    """Read what came of a step on a pod. A load under the real name whose answer is lost is made again a few times, for others have switched."""
    verdict, name = view.verdict, view.pod["metadata"]["name"]
    if verdict is None or verdict.revision != attempt.revision:
        return None
    if verdict.outcome is Outcome.REFUSED and _LIGHT_IMAGE_KILLED in verdict.message:
        message = f"memory holds one copy, most likely: {s.one_copy} Pod {name} lost a process to the load."
        return reasons.SERVER_KILLED, message, verdict.version
    if verdict.outcome is Outcome.REFUSED:
        return reasons.SERVER_REJECTED, f"Triton cannot load it: {verdict.message}", verdict.version
    if verdict.outcome is Outcome.DIFFERS:
        return reasons.GOLDEN_CHECK_FAILED, verdict.message, verdict.version
    is_lost_for_good = attempt.phase is Phase.SWITCHING and view.tries.get(_switch_to(attempt), 0) >= _LOST_SWITCHES
    is_lost = attempt.phase is Phase.PROVING or is_lost_for_good
    if verdict.outcome is Outcome.LOST and view.loaded is not None and is_lost:
        # It answers again, so it is alive: a container that was killed would have been another run.
        return (
            reasons.SERVER_SILENT,
            f"pod {name} did not answer while it loaded it: {verdict.message}",
            verdict.version,
        )
    return None


def _switch_to(attempt: Attempt) -> tuple[str, str]:
    return Step(StepKind.SWITCH, attempt.target).name


def _death(s: Situation, view: PodView, attempt: Attempt, run: str | None) -> _Found | None:
    """Tell whether a pod's container ended in the middle of the attempt."""
    if run is None or is_ending(view.pod) or (run == run_of(view.pod) and not has_ended(view.pod)):
        return None
    end, name = last_end(view.pod), view.pod["metadata"]["name"]
    if end.get("reason") == "OOMKilled":
        message = f"memory holds one copy: {s.one_copy} Pod {name} was killed while it loaded a second one."
        return reasons.OUT_OF_MEMORY, message, None
    if attempt.phase is Phase.SWITCHING:
        # It has proven it beside what served, and ends all the same: liveness, for one, where a load takes long.
        code = end.get("exitCode", "unknown")
        return reasons.SERVER_KILLED, f"pod {name} ended (exit code {code}) while it switched to it: see its log.", None
    if attempt.phase is Phase.PROVING:
        code = end.get("exitCode", "unknown")
        message = f"memory holds one copy, most likely: {s.one_copy} Pod {name} ended (exit code {code}) while it loaded a second one."
        return reasons.SERVER_KILLED, message, None
    return None


def _bad_start(s: Situation, view: PodView, target: Revision) -> _Found | None:
    """Tell whether a new pod does not start with the target: at its first end, without waiting for a deadline."""
    end, name = last_end(view.pod), view.pod["metadata"]["name"]
    if _is_wrong_with(view, target):
        return reasons.GOLDEN_CHECK_FAILED, f"pod {name}: {view.loaded.difference if view.loaded else ''}", None
    if end.get("reason") == "OOMKilled":
        return (
            reasons.OUT_OF_MEMORY,
            f"memory does not hold one copy: {s.one_copy} Pod {name} was killed while it started.",
            None,
        )
    return (reasons.SERVER_FAILED, f"pod {name} does not start with it: {_last_line(view)}", None) if end else None


def _bad_trial(view: PodView, attempt: Attempt) -> _Found | None:
    """Tell whether a pod does not start with the target either."""
    name, uid = view.pod["metadata"]["name"], view.pod["metadata"]["uid"]
    if _is_wrong_with(view, attempt.target):
        return reasons.GOLDEN_CHECK_FAILED, f"pod {name}: {view.loaded.difference if view.loaded else ''}", None
    ends = attempt.restarts.get(uid, 0) + STARTS_BEFORE_TRIAL + _STALE_RESTARTS
    if is_crashing(view.pod) and restarts(view.pod) >= ends:
        return reasons.SERVER_FAILED, f"pod {name} does not start with it: {_last_line(view)}", None
    return None


def _is_wrong_with(view: PodView, revision: Revision) -> bool:
    loaded = view.loaded
    return loaded is not None and loaded.is_wrong and loaded.config_id == revision.config_ids.get(view.profile)


def _last_line(view: PodView) -> str:
    """Give the last line of the log: there programs say why they end."""
    end = last_end(view.pod)
    lines = str(end.get("message") or "").strip().splitlines()
    return lines[-1] if lines else f"exit code {end.get('exitCode', 'unknown')}"


def _only_new_version(s: Situation, target: Revision) -> int | None:
    """Name the one version that is new in the target: it is why it failed, as long as nothing else is known.

    Where the settings are new too it may be either; without the version the next target tells.
    """
    serving = s.ledger.serving
    new = [v for v in target.versions if serving is None or serving.digests.get(v) != target.digests[v]]
    is_plain = len(target.versions) == 1 or (serving is not None and serving.settings == target.settings)
    return new[0] if len(new) == 1 and is_plain else None
