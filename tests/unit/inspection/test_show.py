"""What is on the page: words, not looks."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console, RenderableType

from clipmodel_operator.inspection.overview import (
    ConditionFacts,
    EventFacts,
    Loaded,
    Outcome,
    Overview,
    PodFacts,
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
