"""How far a download is: lines for people, and for the command line that follows the Job's log."""

import logging
import time
from collections.abc import Callable

from clipmodel_sync.units import format_bytes

log = logging.getLogger(__name__)


class Progress:
    """Says how much of a file is there, at most once a second, and once at its end."""

    def __init__(self, shown: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self._clock = clock
        self._started = self._said = clock()
        self._offset = 0

    def start(self, done_bytes: int) -> None:
        """Begin (again) with so much there already: the rate is what this connection gives."""
        self._started, self._offset = self._clock(), done_bytes

    def update(self, done_bytes: int, total_bytes: int | None) -> None:
        """Say it if the last time is a second ago."""
        now = self._clock()
        if now - self._said >= 1:
            self._said = now
            self._say(done_bytes, total_bytes, now)

    def finish(self, done_bytes: int) -> None:
        """Say that all is there."""
        self._say(done_bytes, done_bytes, self._clock())

    def _say(self, done_bytes: int, total_bytes: int | None, now: float) -> None:
        rate = (done_bytes - self._offset) / max(now - self._started, 1e-3)
        if total_bytes:
            percent = 100 * done_bytes // total_bytes
            share = f"{percent} % {format_bytes(done_bytes)} of {format_bytes(total_bytes)}"
        else:
            share = f"? % {format_bytes(done_bytes)} of ?"
        log.info("fetching %s: %s %s/s", self._shown, share, format_bytes(rate))
