"""How far is a sync Job? Read from its log, whose lines docs/spec/sync.md defines: `… PERCENT % DONE of TOTAL RATE/s` while it fetches."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FETCHING = re.compile(
    r"^fetching (?P<source>.*): (?P<percent>\d{1,3}|\?) % (?P<done>[\d.]+ [kMGT]?B) of (?P<total>[\d.]+ [kMGT]?B|\?) (?P<rate>[\d.]+ [kMGT]?B)/s$"
)
_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@dataclass(frozen=True, slots=True)
class Progress:
    """What a sync Job does; the figures are there while it fetches."""

    step: str
    """In the Job's own words."""
    percent: int | None = None
    done: str | None = None
    total: str | None = None
    rate: str | None = None
    left_s: int | None = None
    """Seconds to go at this rate."""

    @property
    def is_fetching(self) -> bool:
        return self.rate is not None


def _bytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * _UNITS[unit]


def parse_progress(log: str) -> Progress | None:
    """Read the last line of a log; None where it is empty."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return None
    found = _FETCHING.match(lines[-1])
    if found is None:
        return Progress(lines[-1])
    done, rate = found["done"], found["rate"]
    if found["percent"] == "?" or found["total"] == "?":
        return Progress("fetching", done=done, rate=rate)
    total, speed = found["total"], _bytes(rate)
    left = round((_bytes(total) - _bytes(done)) / speed) if speed else None
    return Progress("fetching", min(int(found["percent"]), 100), done, total, rate, left)
