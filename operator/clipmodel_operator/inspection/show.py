"""How an overview looks on a terminal: one ClipModel in full, or many as a list. Layout and colour; every fact is the overview's."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clipmodel_operator.inspection.overview import (
    ConditionFacts,
    EventFacts,
    Outcome,
    Overview,
    PodFacts,
    RolloutFacts,
)
from clipmodel_operator.inspection.progress import Progress
from clipmodel_operator.inspection.words import format_age, format_bytes, format_numbers, format_until, shorten

_OUTCOME_STYLE = {Outcome.READY: "green", Outcome.PROGRESSING: "yellow", Outcome.NOT_READY: "red"}
_OUTCOME_WORDS = {Outcome.READY: "Ready", Outcome.PROGRESSING: "Progressing", Outcome.NOT_READY: "Not ready"}
_OUTCOME_SIGN = {Outcome.READY: "●", Outcome.PROGRESSING: "◐", Outcome.NOT_READY: "✖"}
_STATE_STYLE = {"Serving": "green", "Failed": "red", "Retired": "dim", "Synced": "cyan"}
#: Conditions that are good news when False.
_BAD_WHEN_TRUE = frozenset({"Reconciling", "Stalled"})
_EVENTS_SHOWN = 6
_BAR_WIDTH = 22
_NOTHING = "-"
_PHASE_MEANS = {
    "Proving": "pods embed with it under a name that no client asks for",
    "Switching": "pods load it under the real name",
    "Returning": "pods go back to the proven one",
    "Trial": "the proven one does not start: pods start with this one",
    "Replacing": "new pods start with it",
}


def _table(*headers: str, right: frozenset[str] = frozenset()) -> Table:
    # What is wider than the screen gives way in the last column first.
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False, pad_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", no_wrap=header != headers[-1])
    return table


def _section(title: str, body: RenderableType, aside: str = "") -> RenderableType:
    heading = Text.assemble((title, "bold"), ("  " + aside if aside else "", "dim"))
    return Group(Text(), heading, Padding(body, (0, 0, 0, 2)))


def _outcome(overview: Overview) -> Text:
    style = _OUTCOME_STYLE[overview.outcome]
    return Text(f"{_OUTCOME_SIGN[overview.outcome]} {_OUTCOME_WORDS[overview.outcome]}", style=f"bold {style}")


def _said(overview: Overview) -> Text:
    return Text.assemble((f"{overview.reason}: ", _OUTCOME_STYLE[overview.outcome]), overview.message)


def _header(overview: Overview) -> RenderableType:
    title = Text.assemble(_outcome(overview), "  ", (overview.name, "bold"), (f"  in {overview.namespace}", "dim"))
    serves = format_numbers(overview.serving_versions) or "nothing"
    facts = [
        f"serves {serves}",
        f"model {overview.model_name}",
        f"profile {overview.profile}",
        f"{overview.ready_replicas} of {overview.replicas} pods",
        f"age {format_age(overview.age_s)}",
    ]
    message = _said(overview)
    return Group(title, Padding(Text(" · ".join(facts)), (0, 0, 0, 2)), Padding(message, (0, 0, 0, 2)))


def show_progress(progress: Progress) -> RenderableType:
    """Show a sync Job's progress: a bar while it fetches, else its own words."""
    if not progress.is_fetching:
        return Text(progress.step, style="yellow")
    if progress.percent is None:
        return Text(f"{progress.done} so far, {progress.rate}/s", style="yellow")
    grid = Table.grid(padding=(0, 1))
    left = f", {format_age(progress.left_s)} left" if progress.left_s is not None else ""
    grid.add_row(
        ProgressBar(
            total=100, completed=progress.percent, width=_BAR_WIDTH, complete_style="yellow", finished_style="yellow"
        ),
        Text(f"{progress.percent} %", style="bold"),
        Text(f"{progress.done} of {progress.total}, {progress.rate}/s{left}"),
    )
    return grid


def _remarks(remarks: Sequence[tuple[str, str]], style: str) -> list[RenderableType]:
    """Show sentences below a table, in its full width; those that say the same of several once."""
    by_sentence: dict[str, list[str]] = {}
    for about, sentence in remarks:
        by_sentence.setdefault(sentence, []).append(about)
    grid = Table.grid(padding=(0, 2))
    for sentence, several in by_sentence.items():
        grid.add_row(Text(", ".join(several), style=style), sentence)
    return [Padding(grid, (0, 0, 0, 2))] if by_sentence else []


def _versions(overview: Overview) -> RenderableType:
    table = _table("VERSION", "STATE", "SIZE", "SHA-256", "SPACE", right=frozenset({"VERSION", "SIZE"}))
    remarks: list[tuple[str, str]] = []
    working = Table.grid(padding=(0, 2))
    for v in overview.versions:
        table.add_row(
            Text(str(v.version), style="bold" if v.chosen else "dim"),
            Text(v.state, style=_STATE_STYLE.get(v.state, "yellow")),
            format_bytes(v.bytes),
            (v.sha256 or "")[:12],
            (v.space or "")[:8],
        )
        if v.progress is not None:
            working.add_row(Text(str(v.version), style="bold"), show_progress(v.progress))
        # A Job's own words say more than that a Job works on it; and what the head of the page says is not said twice.
        if v.message and v.progress is None and v.message.rstrip(".") not in overview.message:
            remarks.append((str(v.version), v.message))
    below = [Padding(working, (0, 0, 0, 2))] if working.row_count else []
    return _section("Versions", Group(table, *below, *_remarks(remarks, "bold")), f"policy: {overview.policy}")


def _attempt(rollout: RolloutFacts) -> Text:
    """Say how far the target is, and when it is tried next."""
    tries = rollout.tries or 0
    if rollout.phase is None:
        return Text("not reached" if rollout.reason else "not begun", style="red" if rollout.reason else "yellow")
    if rollout.phase != "Waiting":
        means = f": {_PHASE_MEANS[rollout.phase]}" if rollout.phase in _PHASE_MEANS else ""
        return Text(f"{rollout.phase}{f', try {tries}' if tries else ''}{means}", style="yellow")
    after = f" after {tries} {'try' if tries == 1 else 'tries'}" if tries else ""
    if rollout.due_s is None:
        return Text(f"{rollout.phase}{after}", style="red")
    return Text(f"{rollout.phase}{after}; the next {format_until(rollout.due_s)}, {rollout.not_before}", style="yellow")


def _behind(rollout: RolloutFacts, overview: Overview) -> list[RenderableType]:
    """Say in whole sentences why the target is not reached, and what to do."""
    said: list[RenderableType] = []
    # What the head of the page says is not said twice.
    if rollout.reason and rollout.reason.rstrip(".") not in overview.message:
        said.append(Text(rollout.reason))
    if rollout.advice:
        said.append(Text(rollout.advice))
    return said


def _revisions(rollout: RolloutFacts, overview: Overview) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    proven = Text(shorten(rollout.proven_revision), style="green" if rollout.proven_revision else "yellow")
    if rollout.is_at_rest:
        grid.add_row("proven", proven, "what the spec asks for")
    else:
        grid.add_row("proven", proven, "" if rollout.proven_revision else "no pod has proven one yet")
        grid.add_row("target", Text(shorten(rollout.target_revision), style="bold"), _attempt(rollout))
    return _section(
        "Revisions",
        Group(grid, *_behind(rollout, overview)),
        f"strategy: {overview.strategy}{'' if rollout.is_current else ', of an earlier spec'}",
    )


def _revision_of(pod: PodFacts, rollout: RolloutFacts) -> Text:
    if pod.revision is None:
        return Text(_NOTHING, style="dim")
    return Text(shorten(pod.revision), style="green" if pod.revision == rollout.proven_revision else "yellow")


def _condition_style(condition: ConditionFacts) -> str:
    if condition.status == "Unknown":
        return "yellow"
    is_good = (condition.status == "True") != (condition.type in _BAD_WHEN_TRUE)
    if condition.type == "Reconciling":
        return "yellow"
    return "green" if is_good else "red"


def _conditions(overview: Overview) -> RenderableType:
    table = _table("CONDITION", "STATUS", "REASON", "SINCE", "", right=frozenset({"SINCE"}))
    for c in overview.conditions:
        # Ready's message stands above; what Stalled and Reconciling say is the same.
        message = "" if c.message == overview.message else c.message
        stale = "" if c.is_current else " (of an earlier spec)"
        table.add_row(
            Text(c.type), Text(c.status + stale, style=_condition_style(c)), c.reason, format_age(c.age_s), message
        )
    return _section("Conditions", table)


def _loads(pod: PodFacts, overview: Overview) -> Text:
    if pod.loaded is None:
        # From status, which is of all pods together.
        return Text(format_numbers(overview.serving_versions) if pod.ready else _NOTHING, style="dim")
    if not pod.loaded:
        return Text("none", style="yellow")
    return Text(format_numbers(tuple(entry.version for entry in pod.loaded)), style="green" if pod.ready else "yellow")


def _answered(pod: PodFacts) -> Text:
    if pod.loaded is None:
        return Text(_NOTHING, style="dim")
    failed = sum(entry.failed for entry in pod.loaded)
    text = Text(f"{sum(entry.answered for entry in pod.loaded):,}")
    if failed:
        text.append(f" + {failed:,} failed", style="red")
    return text


def _pods(overview: Overview) -> RenderableType:
    if not overview.pods:
        return _section("Pods", Text("none", style="dim"))
    right = frozenset({"RESTARTS", "AGE", "ANSWERED"})
    rollout = overview.rollout
    headers = ["POD", "READY", "STATUS", "LOADED", "ANSWERED", "RESTARTS", "AGE", "NODE"]
    table = _table(*headers, *(["REVISION"] if rollout else []), right=right)
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for pod in overview.pods:
        table.add_row(
            pod.name,
            Text("yes", style="green") if pod.ready else Text("no", style="red" if pod.trouble else "yellow"),
            Text(pod.phase, style="" if pod.phase == "Running" else "yellow"),
            _loads(pod, overview),
            _answered(pod),
            Text(str(pod.restarts), style="red" if pod.restarts else ""),
            format_age(pod.age_s),
            pod.node or _NOTHING,
            *([_revision_of(pod, rollout)] if rollout else []),
        )
    # find_trouble's sentence names the pod.
    troubles = [Padding(Text(pod.trouble, style="red"), (0, 0, 0, 2)) for pod in overview.pods if pod.trouble]
    return _section("Pods", Group(table, *troubles))


def _events(events: Sequence[EventFacts]) -> RenderableType:
    table = _table("AGE", "REASON", "", right=frozenset({"AGE"}))
    for event in events[-_EVENTS_SHOWN:]:
        is_warning = event.type == "Warning"
        about = f"{event.about}: " if event.about else ""
        times = f" ({event.count} times)" if event.count > 1 else ""
        message = Text.assemble((about, "dim"), event.message, (times, "dim"))
        table.add_row(format_age(event.age_s), Text(event.reason, style="red" if is_warning else "green"), message)
    hidden = len(events) - _EVENTS_SHOWN
    return _section("Events", table, f"the last {_EVENTS_SHOWN} of {len(events)}" if hidden > 0 else "")


def _notes(notes: Sequence[str]) -> list[RenderableType]:
    return [Text(), *(Text(f"! {note}", style="yellow") for note in notes)] if notes else []


def show_one(overview: Overview) -> RenderableType:
    """Show one ClipModel in full."""
    parts: list[RenderableType] = [_header(overview), _versions(overview)]
    if overview.rollout:
        parts.append(_revisions(overview.rollout, overview))
    if overview.conditions:
        parts.append(_conditions(overview))
    parts.append(_pods(overview))
    if overview.endpoints:
        addresses = [f"{protocol} {address}" for protocol, address in sorted(overview.endpoints.items())]
        parts.append(_section("Endpoints", Text("   ".join(addresses))))
    if overview.events:
        parts.append(_events(overview.events))
    return Group(*parts, *_notes(overview.notes))


def _one_line_versions(overview: Overview) -> Text:
    text = Text()
    for version in sorted(overview.versions, key=lambda v: v.version):
        if version.state == "Retired":
            continue  # there, and nobody asks for them
        text.append(", " if text else "")
        text.append(f"{version.version} {version.state}", style=_STATE_STYLE.get(version.state, "yellow"))
        if version.progress is not None and version.progress.percent is not None:
            text.append(f" {version.progress.percent} %", style="yellow")
    return text


def show_many(overviews: Sequence[Overview], *, with_namespace: bool, where: str) -> RenderableType:
    """Show ClipModels as a list, and in full words what is wrong."""
    if not overviews:
        return Text(f"There are no ClipModels in {where}.")
    headers = [*(["NAMESPACE"] if with_namespace else []), "NAME", "STATUS", "PROFILE", "PODS", "AGE", "VERSIONS"]
    table = _table(*headers, right=frozenset({"PODS", "AGE"}))
    for o in overviews:
        table.add_row(
            *([o.namespace] if with_namespace else []),
            Text(o.name, style="bold"),
            _outcome(o),
            o.profile,
            f"{o.ready_replicas}/{o.replicas}",
            format_age(o.age_s),
            _one_line_versions(o),
        )
    # Below and not beside: these are whole sentences.
    unwell: list[RenderableType] = []
    for o in overviews:
        said: list[RenderableType] = [_said(o)] if o.outcome is not Outcome.READY else []
        # It may be Ready on what is proven while something else was asked for.
        if o.rollout and o.rollout.target_revision and not o.rollout.is_at_rest:
            target = Text.assemble((f"target {shorten(o.rollout.target_revision)}: ", "bold"), _attempt(o.rollout))
            said += [target, *_behind(o.rollout, o)]
        if said:
            unwell += [Text(), Text(o.name, style="bold"), Padding(Group(*said), (0, 0, 0, 2))]
    return Group(table, *unwell, *_notes(overviews[0].notes))
