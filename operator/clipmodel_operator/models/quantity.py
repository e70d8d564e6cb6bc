"""Kubernetes quantities and durations as numbers. The API server writes quantities its own way (`1000m` becomes `1`): compare values, not text."""

from __future__ import annotations

import re
from decimal import Decimal

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(us|ms|s)$"
#: What Kubernetes counts in whole seconds.
SECONDS_PATTERN = r"^[0-9]{1,6}(s|m|h)$"

_FACTORS = {
    "": Decimal(1),
    # The first two are the API server's own writing of `0.5m` and less; nobody else needs them.
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_MICROSECONDS = {"us": Decimal(1), "ms": Decimal(1000), "s": Decimal(1_000_000)}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_quantity(text: str | float) -> Decimal:
    """Give a quantity's value. Raises ValueError for what is none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", str(text))
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f"{text!r} is no quantity: write a number with a suffix such as 500m, 2, 512Mi or 10Gi")
    return Decimal(match[1]) * _FACTORS[match[2]]


def parse_duration_us(text: str) -> int:
    """Give a duration in microseconds, as Triton counts them. Raises ValueError for what is none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s)", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number with us, ms or s, such as 5ms")
    return int(Decimal(match[1]) * _MICROSECONDS[match[2]])


def parse_seconds(text: str) -> int:
    """Give a duration in whole seconds, as Kubernetes counts them. Raises ValueError for what is none."""
    match = re.fullmatch(r"([0-9]+)([smh])", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a whole number with s, m or h, such as 60s")
    return int(match[1]) * _SECONDS[match[2]]
