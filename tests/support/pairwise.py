"""Which few combinations show every two values of every two factors together?

A small greedy generator (all pairs, with constraints), the same rows on every machine. Most faults of a configuration need two settings at
most to show, and all combinations would be millions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]
Pair = frozenset[tuple[str, int]]


def pairwise(
    factors: Mapping[str, Sequence[Any]], *, is_valid: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> list[Row]:
    """Give rows that together have every valid pair of values.

    `is_valid` is asked about parts of rows too, and says no only to what no further value can mend.
    """
    names = list(factors)

    def values(chosen: Mapping[str, int]) -> Row:
        return {name: factors[name][index] for name, index in chosen.items()}

    def pairs_with(chosen: Mapping[str, int], name: str, index: int) -> list[Pair]:
        return [frozenset({(name, index), item}) for item in chosen.items()]

    # In order, for a set would give other rows in every run.
    uncovered: dict[Pair, None] = {}
    for first, second in combinations(names, 2):
        for i in range(len(factors[first])):
            for j in range(len(factors[second])):
                if is_valid(values({first: i, second: j})):
                    uncovered[frozenset({(first, i), (second, j)})] = None

    used = {(name, index): 0 for name in names for index in range(len(factors[name]))}

    def complete(chosen: dict[str, int]) -> dict[str, int] | None:
        """Add what covers most, least used first; go back where nothing is valid."""
        left = [name for name in names if name not in chosen]
        if not left:
            return chosen
        name = left[0]
        ranked = sorted(
            range(len(factors[name])),
            key=lambda i: (-sum(p in uncovered for p in pairs_with(chosen, name, i)), used[name, i], i),
        )
        for index in ranked:
            wider = {**chosen, name: index}
            if is_valid(values(wider)) and (found := complete(wider)) is not None:
                return found
        return None

    rows: list[Row] = []
    while uncovered:
        pair = next(iter(uncovered))
        row = complete(dict(sorted(pair, key=lambda item: names.index(item[0]))))
        if row is None:  # no row has it, with all constraints
            del uncovered[pair]
            continue
        for item in row.items():
            used[item] += 1
        for couple in combinations(row.items(), 2):
            uncovered.pop(frozenset(couple), None)
        rows.append(values({name: row[name] for name in names}))
    return rows
