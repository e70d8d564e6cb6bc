"""What is on the page: words, not looks."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from clipmodel_operator.inspection.overview import (
    ConditionFacts,
    EventFacts,
    Loaded,
    Outcome,
    Overview,
    PodFacts,
    RolloutFacts,
    VersionFacts,
)
from clipmodel_operator.inspection.progress import Progress
from clipmodel_operator.inspection.show import show_many, show_one

SYNCING = VersionFacts(
    2,
    "Syncing",
    True,
    None,
    None,
    None,
    "a Job works on it",
    Progress("fetching", 43, "151.1 MB", "351.5 MB", "24.3 MB", 8),
)
SERVING = VersionFacts(1, "Serving", False, "1" * 64, 351_461_235, "22ee4379747d90e7", None, None)
READY_POD = PodFacts("clip-a", "Running", True, 0, "node-1", 90.0, "cpu", (Loaded(1, 12345, 2),), None)
SICK_POD = PodFacts(
    "clip-b", "CrashLoopBackOff", False, 7, None, 90.0, "cpu", None, "pod clip-b: CrashLoopBackOff: out of memory"
)
OVERVIEW = Overview(
    namespace="demo",
    name="clip",
    outcome=Outcome.PROGRESSING,
    reason="Syncing",
    message="version 2: Job x fetches and proves it. Meanwhile version 1 serves.",
    stalled=False,
    profile="cpu",
    model_name="clip",
    policy="latest 1",
    serving_versions=(1,),
    replicas=2,
    ready_replicas=1,
    age_s=4000.0,
    endpoints={"http": "clip.demo.svc:8000"},
    versions=(SYNCING, SERVING),
    conditions=(ConditionFacts("Ready", "Unknown", "Syncing", "version 2: Job x fetches and proves it. Meanwhile version 1 serves.", 12.0, True),),
    pods=(READY_POD, SICK_POD),
    events=tuple(EventFacts(float(9 - i), "Normal", f"Reason{i}", "", "Words.", 1) for i in range(9)),
    notes=("events cannot be shown",),
)  # fmt: skip


def page(shown: RenderableType, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, emoji=False, markup=False).print(shown)
    return out.getvalue()


def test_a_page_says_it_all() -> None:
    text = page(show_one(OVERVIEW))
    for words in (
        "Progressing  clip  in demo",
        "serves 1 · model clip · profile cpu · 1 of 2 pods · age 66m",
        "policy: latest 1",
        "43 % 151.1 MB of 351.5 MB, 24.3 MB/s, 8s left",
        "351.5 MB  111111111111  22ee4379",
        "12,345 + 2 failed",
        "pod clip-b: CrashLoopBackOff: out of memory",
        "http clip.demo.svc:8000",
        "the last 6 of 9",
        "! events cannot be shown",
    ):
        assert words in text, words
    assert "Reason2" not in text
    assert "Reason3" in text


def test_the_head_of_the_page_is_not_repeated() -> None:
    assert page(show_one(OVERVIEW), width=400).count("Meanwhile version 1 serves.") == 1


def test_what_several_versions_say_is_said_once() -> None:
    failed = [replace(SERVING, version=v, state="Failed", message="of another space.") for v in (3, 4)]
    text = page(show_one(replace(OVERVIEW, versions=(*failed, SERVING))))
    assert text.count("of another space.") == 1
    assert "3, 4  of another space." in text


def test_without_the_right_to_ask_pods_status_stands_in() -> None:
    text = page(show_one(replace(OVERVIEW, pods=(replace(READY_POD, loaded=None),))))
    row = next(line for line in text.splitlines() if "clip-a" in line)
    assert row.split()[:5] == ["clip-a", "yes", "Running", "1", "-"]


def test_what_is_in_square_brackets_is_not_markup() -> None:
    text = page(show_one(replace(OVERVIEW, message="[red]odd[/] and [/broken]")))
    assert "[red]odd[/] and [/broken]" in text


def test_narrow_screens_keep_every_pod_name_whole() -> None:
    narrow = page(
        show_one(
            replace(
                OVERVIEW,
                pods=(replace(READY_POD, name="clip-0123456789-abcde", node="a-node-of-a-long-name.example.com"),),
            )
        ),
        width=80,
    )
    assert max(map(len, narrow.splitlines())) <= 80
    assert "yes" in narrow


def test_a_list_has_a_line_for_each_and_words_for_the_unwell() -> None:
    well = replace(
        OVERVIEW,
        name="well",
        outcome=Outcome.READY,
        message="All is well.",
        versions=(SERVING, replace(SERVING, version=5, state="Retired")),
    )
    text = page(show_many([OVERVIEW, well], with_namespace=True, where="any namespace"))
    assert "NAMESPACE" in text
    assert "1 Serving, 2 Syncing 43 %" in text
    assert "5 Retired" not in text
    assert "Syncing: version 2" in text
    assert "All is well." not in text
    assert "NAMESPACE" not in page(show_many([well], with_namespace=False, where="namespace demo"))


R1, R2 = "1a" * 16, "2b" * 16
REACHED = RolloutFacts(R1, R1, None, None, None, None, None, None)
WAITING = RolloutFacts(
    R1, R2, "Waiting", 2, "2026-11-22T12:04:00Z", 240.0, "Triton refuses the configuration.", "To have it tried at once: do this"
)  # fmt: skip


def revisions(rollout: RolloutFacts | None, **changes: Any) -> list[str]:
    """Give the lines of the section, without what is around it."""
    lines = page(show_one(replace(OVERVIEW, rollout=rollout, **changes))).splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("Revisions")]
    if not heads:
        return []
    end = lines.index("", heads[0]) if "" in lines[heads[0] :] else len(lines)
    return [" ".join(line.split()) for line in lines[heads[0] : end]]


def test_revisions_at_rest_are_one() -> None:
    assert revisions(REACHED) == ["Revisions strategy: InPlace", "proven 1a1a1a1a1a1a what the spec asks for"]
    assert revisions(REACHED, strategy="Replace")[0] == "Revisions strategy: Replace"
    assert revisions(replace(REACHED, is_current=False))[0] == "Revisions strategy: InPlace, of an earlier spec"


def test_a_failed_target_says_when_it_is_tried_next_and_what_to_do() -> None:
    assert revisions(WAITING) == [
        "Revisions strategy: InPlace",
        "proven 1a1a1a1a1a1a",
        "target 2b2b2b2b2b2b Waiting after 2 tries; the next in 4 min, 2026-11-22T12:04:00Z",
        "Triton refuses the configuration.",
        "To have it tried at once: do this",
    ]
    said_above = revisions(WAITING, message="Triton refuses the configuration, so version 1 serves.")
    assert "Triton refuses the configuration." not in said_above


ATTEMPTS = {
    "first try": (replace(WAITING, phase="Proving", tries=1), "Proving, try 1: pods embed with it under a name"),
    "no count": (replace(WAITING, phase="Switching", tries=None), "Switching: pods load it under the real name"),
    "back": (replace(WAITING, phase="Returning"), "Returning, try 2: pods go back to the proven one"),
    "on trial": (replace(WAITING, phase="Trial"), "Trial, try 2: the proven one does not start"),
    "new pods": (replace(WAITING, phase="Replacing"), "Replacing, try 2: new pods start with it"),
    "a phase of tomorrow": (replace(WAITING, phase="Pondering"), "Pondering, try 2"),
    "one try": (replace(WAITING, tries=1), "Waiting after 1 try; the next in 4 min"),
    "due": (replace(WAITING, due_s=-3.0), "Waiting after 2 tries; the next due, 2026"),
    "given up": (replace(WAITING, not_before=None, due_s=None), "Waiting after 2 tries"),
    "given up without a phase": (replace(WAITING, phase=None, not_before=None, due_s=None), "not reached"),
    "not begun": (RolloutFacts(R1, R2, None, None, None, None, None, None), "not begun"),
}


@pytest.mark.parametrize(("rollout", "words"), ATTEMPTS.values(), ids=ATTEMPTS)
def test_the_attempt_is_told(rollout: RolloutFacts, words: str) -> None:
    assert revisions(rollout)[2].startswith(f"target 2b2b2b2b2b2b {words}")


def test_before_the_first_proof_none_is_proven() -> None:
    shown = revisions(RolloutFacts(None, R1, None, None, None, None, None, None))
    assert shown[1:] == ["proven none no pod has proven one yet", "target 1a1a1a1a1a1a not begun"]


def test_each_pods_revision_is_shown_where_status_has_revisions() -> None:
    pods = (replace(READY_POD, revision=R1), replace(SICK_POD, revision=None))
    text = page(show_one(replace(OVERVIEW, rollout=WAITING, pods=pods)))
    header, first, second = (
        next(ln for ln in text.splitlines() if f"  {w}" in ln) for w in ("POD", "clip-a", "clip-b")
    )
    assert (header.split()[-1], first.split()[-1], second.split()[-1]) == ("REVISION", "1a1a1a1a1a1a", "-")
    older = page(show_one(OVERVIEW))
    assert "REVISION" not in older
    assert "Revisions" not in older


def test_a_list_names_a_target_that_is_not_reached_also_where_clients_are_served() -> None:
    well = replace(OVERVIEW, name="well", outcome=Outcome.READY, message="All is well.", rollout=WAITING)
    text = page(show_many([well], with_namespace=False, where="namespace demo"))
    assert "target 2b2b2b2b2b2b: Waiting after 2 tries; the next in 4 min" in text
    assert "To have it tried at once" in text
    assert "All is well." not in text
    for rollout in (REACHED, None):
        quiet = page(show_many([replace(well, rollout=rollout)], with_namespace=False, where="namespace demo"))
        assert "target" not in quiet
