"""Exit codes of the programs that run to an end (`clipmodel-sync`, `clipmodel export`): a Job's podFailurePolicy and scripts read them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from clipmodel_contract.reasons import SyncReason


class ExitCode(IntEnum):
    """How a program ended, by what the next try can hope for."""

    OK = 0
    BUG = 1
    """Python's own, of an exception that nobody caught."""
    USAGE = 2
    """argparse's and typer's own."""
    MUST_ACT = 10
    """The same try ends the same until a person acts."""
    TRY_AGAIN = 11
    """The same try may succeed later."""


#: After these a Job is not tried again.
FINAL: Final = (ExitCode.USAGE, ExitCode.MUST_ACT)


def exit_code_of(reason: SyncReason) -> ExitCode:
    """Give the exit code that goes with a reason; wrong usage and bugs have their own."""
    match reason:
        case SyncReason.INVALID_ARGUMENTS:
            return ExitCode.USAGE
        case SyncReason.INTERNAL_ERROR:
            return ExitCode.BUG
        case _:
            return ExitCode.MUST_ACT if reason.is_final else ExitCode.TRY_AGAIN
