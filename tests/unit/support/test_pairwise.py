"""The generator itself: everything it promises, by counting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

import pytest

from support.pairwise import pairwise

FACTORS: Mapping[str, Sequence[Any]] = {"a": [1, 2, 3, 4], "b": ["x", "y", "z"], "c": [True, False], "d": [None, 7]}


def pairs_of(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(m, row[m], n, row[n]) for row in rows for m, n in combinations(FACTORS, 2)}


def everything() -> list[dict[str, Any]]:
    return [dict(zip(FACTORS, values, strict=True)) for values in product(*FACTORS.values())]


def test_every_two_values_meet_in_fewer_rows_than_all() -> None:
    rows = pairwise(FACTORS)
    assert pairs_of(rows) == pairs_of(everything())
    assert 12 <= len(rows) <= 16 < len(everything())


def test_the_same_rows_every_time() -> None:
    assert pairwise(FACTORS) == pairwise(FACTORS)


@pytest.mark.parametrize(
    "is_valid",
    [
        lambda row: not (row.get("a") == 1 and row.get("b") == "x"),
        lambda row: row.get("c") is not True or row.get("d", 7) == 7,
        lambda row: sum([row.get("a") == 4, row.get("b") == "z", row.get("c") is False]) < 3,
        lambda row: row.get("a", 1) + (row.get("d") or 0) < 10,
    ],
)
def test_constraints_hold_and_cost_no_pair_that_they_allow(is_valid: Any) -> None:
    rows = pairwise(FACTORS, is_valid=is_valid)
    assert all(map(is_valid, rows))
    assert pairs_of(rows) == pairs_of(list(filter(is_valid, everything())))


def test_a_pair_that_only_a_third_value_forbids_is_left_out() -> None:
    def is_valid(row: Mapping[str, Any]) -> bool:
        return not (row.get("a") == 1 and "c" in row)

    rows = pairwise(FACTORS, is_valid=is_valid)
    assert rows
    assert all(row["a"] != 1 for row in rows)
