"""Pure: from measured seconds to medians, ranges, ratios and the tables that are printed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, and how far they lie apart."""

    median: float
    low: float
    high: float
    count: int

    @override
    def __str__(self) -> str:
        """Write it as tables have it."""
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Summarise runs. Raises ValueError where there are none: a median of nothing would look like a result."""
    if not values:
        raise ValueError("no run was measured")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Give the ratio of the medians."""
    return spread(ours).median / spread(theirs).median


def phases(marks: Mapping[str, float], order: Sequence[str]) -> dict[str, float]:
    """Turn moments into the seconds since the moment before, in the given order; one that was not seen is left out.

    A moment that was seen before its predecessor (two watches are not one clock) took no time.
    """
    durations, before = {}, 0.0
    for name in order:
        if name in marks:
            durations[name] = max(0.0, marks[name] - before)
            before = max(before, marks[name])
    return durations


def collect(runs: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """Give what the runs measured under one name; a run without it counts as not measured."""
    return [run[name] for run in runs if name in run]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table for a terminal: the first column to the left, the others to the right."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def render(line: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([render(header), "  ".join("-" * w for w in widths), *[render(row) for row in rows]])
