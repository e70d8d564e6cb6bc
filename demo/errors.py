"""The one error that becomes a message: what happened, and the command that looks deeper."""


class DemoError(Exception):
    """A step failed, and the user can do something about it."""

    def __init__(self, message: str, *, advice: str, details: str = "") -> None:
        super().__init__(message)
        self.advice = advice
        self.details = details
