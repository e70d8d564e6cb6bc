"""The one error that becomes a message: what was not seen, and where to look."""


class BenchError(Exception):
    """A benchmark cannot go on; the message says what to do."""
