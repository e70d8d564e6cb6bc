"""Standard output whose reader may go before all is written: `clipmodel status | head`.

A command then ends at once and quietly, with the exit code that a shell gives to a program that SIGPIPE ended. Not by that signal itself: it would
also end the command for any connection that breaks while it writes (Python's documentation, signal, "Note on SIGPIPE").
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from typing_extensions import override

#: The exit code of a command whose reader went.
READER_GONE = 128 + signal.SIGPIPE


class _Pipe(io.FileIO):
    """Ends the program at the first write that nobody can read. What is written after that, while it ends, goes nowhere."""

    @override
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            raise SystemExit(READER_GONE) from None


@contextmanager
def ends_when_reader_goes() -> Iterator[None]:
    """Run a command; where standard output is a pipe that nobody reads any more, raise SystemExit from whatever writes to it.

    click and rich each have an end of their own for it, with exit code 1, which is an answer of `clipmodel status` and `clipmodel diff`.
    """
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper) and stdout is sys.__stdout__:  # not a test's, and not closed
        stdout.flush()
        raw = _Pipe(stdout.fileno(), "wb", closefd=False)
        sys.stdout = io.TextIOWrapper(
            raw if stdout.write_through else io.BufferedWriter(raw),  # as Python makes its own
            encoding=stdout.encoding,
            errors=stdout.errors,
            line_buffering=stdout.line_buffering,
            write_through=stdout.write_through,
        )
    try:
        yield
    finally:
        # Here, and not when the interpreter ends: its complaint could not be silenced.
        if sys.stdout is not None:
            sys.stdout.flush()


def is_reader_gone(stream: IO[str]) -> bool:
    """Tell whether nobody reads any more what is written to a pipe, without writing."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # in memory, or closed
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are told without being asked for
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
