"""Times, sizes and numbers as a person reads them."""

from __future__ import annotations

import math

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEP = 1000.0


def format_age(seconds: float | None) -> str:
    """Give a duration in one unit, two where the first says too little: 45s, 3m20s, 17m, 5h, 3d."""
    if seconds is None:
        return "?"
    whole = int(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        rest = whole % _MINUTE
        return f"{whole // _MINUTE}m{rest}s" if rest else f"{whole // _MINUTE}m"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE}m"
    return f"{whole // _HOUR}h" if whole < 2 * _DAY else f"{whole // _DAY}d"


def format_until(seconds: float) -> str:
    """Say how long something is away, rounded up: when that time is over it has come. In 45 s, in 4 min, in 3 h; due where it has come already."""
    whole = math.ceil(seconds)
    if whole <= 0:
        return "due"
    if whole < 2 * _MINUTE:
        return f"in {whole} s"
    if whole <= 2 * _HOUR:
        return f"in {math.ceil(whole / _MINUTE)} min"
    return f"in {math.ceil(whole / _HOUR)} h"


def format_bytes(count: int | None) -> str:
    """Give bytes in decimal units: 351461235 is 351.5 MB."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} TB"


_REVISION_LENGTH = 12


def shorten(revision: str | None) -> str:
    """Give as much of a revision's id as tells it from others."""
    return revision[:_REVISION_LENGTH] if revision else "none"


def format_numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in numbers)
