from __future__ import annotations

import pytest

from clipmodel_operator.inspection.words import format_age, format_bytes, format_until, shorten


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "?"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (600, "10m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ],
)
def test_an_age_has_one_unit_or_two(seconds: float | None, expected: str) -> None:
    assert format_age(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (100_893, "100.9 kB"), (351_461_235, "351.5 MB"), (5e12, "5.0 TB")],
)
def test_sizes_are_decimal(count: int | None, expected: str) -> None:
    assert format_bytes(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-60, "due"),
        (0, "due"),
        (0.2, "in 1 s"),
        (119, "in 119 s"),
        (120, "in 2 min"),
        (200, "in 4 min"),
        (3600, "in 60 min"),
        (7200, "in 120 min"),
        (7201, "in 3 h"),
    ],
)
def test_what_is_to_come_is_rounded_up(seconds: float, expected: str) -> None:
    assert format_until(seconds) == expected


@pytest.mark.parametrize(
    ("revision", "expected"), [(None, "none"), ("", "none"), ("r1", "r1"), ("0123456789abcdef", "0123456789ab")]
)
def test_a_revision_is_short(revision: str | None, expected: str) -> None:
    assert shorten(revision) == expected
