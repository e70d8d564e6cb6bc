"""Says what happens: a line per event with the time since the start, and a spinner where somebody watches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from demo.errors import DemoError


class Narrator:
    """The demo's voice."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._start = time.monotonic()

    def say(self, text: str, *, style: str = "") -> None:
        """Print one line; nothing in it is markup."""
        stamp = f"[{time.monotonic() - self._start:.1f}s]"
        self._console.print(Text.assemble((stamp, "dim"), " ", (text, style)), soft_wrap=True)

    def fail(self, error: DemoError) -> None:
        """Say what failed, with its last words before and what to do after it."""
        if error.details:
            self.plain(error.details)
        self.say(str(error), style="bold red")
        self.plain(error.advice)

    def detail(self, text: str) -> None:
        """Print one line of a step."""
        self.say(f"  {text}", style="dim")

    def plain(self, text: str = "", *, style: str = "") -> None:
        """Print text as it is, for what a user copies or reads at leisure."""
        self._console.print(Text(text, style), soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step; on a terminal a spinner turns until its end, and children must not write there."""
        self.say(title, style="bold")
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(Text(title)):
            yield

    def announce(self, title: str) -> None:
        """Announce a step whose program draws for itself."""
        self.say(title, style="bold")
