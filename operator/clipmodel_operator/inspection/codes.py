"""What the shell is told: scripts may depend on these numbers, and each command's --help lists them."""

from __future__ import annotations

from enum import IntEnum


class StatusCode(IntEnum):
    """Exit codes of `clipmodel status`; of several ClipModels the worst counts: 1, then 3, then 0."""

    READY = 0
    NOT_READY = 1
    """Ready is False: it failed, or it is scaled to zero."""
    USAGE = 2
    PROGRESSING = 3
    """Ready is Unknown, or status is not of the present spec yet."""
    UNKNOWN = 4
    """It could not be found out: no cluster, no such ClipModel, no right to read it."""


class DiffCode(IntEnum):
    """Exit codes of `clipmodel diff`: those of `kubectl diff`."""

    SAME = 0
    DIFFERENT = 1
    FAILED = 2
