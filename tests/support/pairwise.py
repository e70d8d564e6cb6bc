"""Which few combinations show every two values of every two factors together?

A small greedy generator (all pairs, with constraints), the same rows on every machine. Most faults of a configuration need two settings at
most to show, and all combinations would be millions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

Row = dict[str, Any]
#: A factor's name and the index of one of its values.
Item = tuple[str, int]
Pair = frozenset[Item]
IsValid = Callable[[Mapping[str, Any]], bool]


def pairwise(factors: Mapping[str, Sequence[Any]], *, is_valid: IsValid = lambda _: True) -> list[Row]:
    """Give rows that together have every valid pair of values.

    `is_valid` is asked about parts of rows too, and says no only to what no further value can mend.
    """
    search = _Search(factors, is_valid)
    rows: list[Row] = []
    while search.uncovered:
        pair = next(iter(search.uncovered))
        found = search.complete(dict(sorted(pair, key=lambda item: search.names.index(item[0]))))
        if found is None:  # no row has it, with all constraints
            del search.uncovered[pair]
            continue
        search.take(found)
        rows.append(search.values({name: found[name] for name in search.names}))
    return rows


@dataclass(slots=True)
class _Search:
    factors: Mapping[str, Sequence[Any]]
    is_valid: IsValid
    names: list[str] = field(init=False)
    #: A dict for its order: a set would give other rows in every run.
    uncovered: dict[Pair, None] = field(init=False)
    used: Counter[Item] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.names = list(self.factors)
        items = {name: [(name, index) for index in range(len(values))] for name, values in self.factors.items()}
        pairs = (pair for a, b in combinations(self.names, 2) for pair in product(items[a], items[b]))
        self.uncovered = {frozenset(pair): None for pair in pairs if self.is_valid(self.values(dict(pair)))}

    def values(self, chosen: Mapping[str, int]) -> Row:
        return {name: self.factors[name][index] for name, index in chosen.items()}

    def complete(self, chosen: dict[str, int]) -> dict[str, int] | None:
        """Add what covers most, least used first; go back where nothing is valid."""
        name = next((n for n in self.names if n not in chosen), None)
        if name is None:
            return chosen

        def rank(index: int) -> tuple[int, int, int]:
            news = sum(frozenset({(name, index), item}) in self.uncovered for item in chosen.items())
            return -news, self.used[name, index], index

        for index in sorted(range(len(self.factors[name])), key=rank):
            wider = {**chosen, name: index}
            if self.is_valid(self.values(wider)) and (found := self.complete(wider)) is not None:
                return found
        return None

    def take(self, row: Mapping[str, int]) -> None:
        self.used.update(row.items())
        for pair in combinations(row.items(), 2):
            self.uncovered.pop(frozenset(pair), None)
