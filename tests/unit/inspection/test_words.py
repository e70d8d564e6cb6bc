from __future__ import annotations

import pytest

from clipmodel_operator.inspection.words import format_age, format_bytes


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
