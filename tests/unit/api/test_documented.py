"""docs/spec/clipmodel.md is the reference: it has a section for each part of the spec, and names every field and word of status."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.crd import render_crd
from clipmodel_operator.api.v1alpha1.rollout import RolloutStrategy
from clipmodel_operator.api.v1alpha1.status import MAX_PODS, RolloutPhase, VersionState
from clipmodel_operator.models.names import ANNOTATION_RETRY

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/spec/clipmodel.md").read_text("utf-8")
SCHEMA: dict[str, Any] = render_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
ADRS = sorted((ROOT / "docs/adr").glob("0*.md"))


def section(heading: str) -> str:
    """Give the text below a heading, up to the next of the same depth."""
    depth = heading.split(" ", 1)[0]
    return re.split(rf"^{depth} ", PAGE.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def is_named(field: str, text: str) -> bool:
    """Tell whether a field stands in the text as code, alone or in a path."""
    return re.search(rf"`([A-Za-z\[\]]*\.)*{field}(\[\])?[`.]", text) is not None


@pytest.mark.parametrize("field", SCHEMA["spec"]["properties"])
def test_each_part_of_the_spec_has_a_section(field: str) -> None:
    assert re.search(rf"^### spec\.{field}\b", PAGE, re.MULTILINE), f"### spec.{field}"


@pytest.mark.parametrize("part", ["rollout", "verification", "instances", "optimization"])
def test_each_field_has_its_row(part: str) -> None:
    text = section(f"### spec.{part}")
    missing = [f for f in SCHEMA["spec"]["properties"][part]["properties"] if not is_named(f, text)]
    assert missing == []


def test_each_field_of_status_is_named() -> None:
    text = section("## Status")
    status = SCHEMA["status"]["properties"]
    fields = [*status, *status["rollout"]["properties"], *status["pods"]["items"]["properties"]]
    assert [f for f in fields if not is_named(f, text)] == []


def test_words_of_status_are_explained() -> None:
    assert [p.value for p in RolloutPhase if f"`{p.value}`" not in section("## Status")] == []
    assert [s.value for s in VersionState if f"`{s.value}`" not in section("## Life of a version")] == []
    assert [s.value for s in RolloutStrategy if f"`{s.value}`" not in section("### spec.rollout")] == []
    assert f"at most {MAX_PODS}" in section("## Status")


def test_how_to_try_again_is_told_where_people_look() -> None:
    for page in ("docs/spec/clipmodel.md", "docs/operations.md"):
        assert f'kubectl annotate clip NAME {ANNOTATION_RETRY}="$(date +%s)" --overwrite' in (ROOT / page).read_text(
            "utf-8"
        )


def test_decisions_are_listed_and_numbered() -> None:
    listed = (ROOT / "docs/adr/README.md").read_text("utf-8")
    numbers = [int(page.name[:4]) for page in ADRS]
    assert numbers == list(range(1, len(numbers) + 1))
    for page in ADRS:
        title = page.read_text("utf-8").partition("\n")[0]
        assert title.startswith(f"# {page.name[:4]}. "), page.name
        assert f"[{page.name[:4]}]({page.name})" in listed, page.name


@pytest.mark.parametrize("page", ["spec/clipmodel.md", "operations.md", *(f"adr/{p.name}" for p in ADRS)])
def test_links_within_the_documentation_lead_somewhere(page: str) -> None:
    here = ROOT / "docs" / page
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", here.read_text("utf-8"))):
        if target.startswith("http"):
            continue
        there = (here.parent / target) if target else here
        assert there.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, f"{page}: #{anchor}"
