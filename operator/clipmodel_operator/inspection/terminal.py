"""What standard output is: a terminal gets colours and its own width, anything else plain text. NO_COLOR and TERM=dumb are obeyed, by rich."""

from __future__ import annotations

from typing import IO

from rich.console import Console
from rich.theme import Theme

# Names of versions and pods are full of numbers: rich would paint each.
_NO_GUESSING = False


def make_console(output: IO[str]) -> Console:
    return Console(file=output, highlight=_NO_GUESSING, theme=Theme({"bar.back": "grey30"}), emoji=False, markup=False)
