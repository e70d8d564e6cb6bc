"""Our errors, sorted by one question: would waiting fix it?

`clients/` turn what Kubernetes and Triton raise into these, once, with the original chained. What is none of them is a bug of ours.
"""

from __future__ import annotations


class ClipModelError(Exception):
    """Base of every error that this package raises on purpose. Its text says what was found, and what to do."""


class StalledError(ClipModelError):
    """Nothing changes until a person acts."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RetryError(ClipModelError):
    """The world failed; the same pass may succeed later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MissingRightError(RetryError):
    """A right is missing; whoever gives it need not touch the ClipModel."""


class ConflictError(RetryError):
    """The object is another one, or another state of it, than the request takes for granted (409)."""


class GoneError(ClipModelError):
    """The object is not there any more."""


class RejectedError(ClipModelError):
    """The API server refuses an object that we rendered (400, 422, 403 by an admission rule), or Triton a request (400): their own words say why."""
