"""Our errors, sorted by one question: would waiting fix it?

`clients/` turn what Kubernetes and Triton raise into these, once, with the original chained. What is none of them is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Mapping


class ClipModelError(Exception):
    """Base of every error that this package raises on purpose. Its text says what was found, and what to do."""


class StalledError(ClipModelError):
    """Nothing changes until a person acts."""

    def __init__(self, reason: str, message: str, *, look_again: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        #: The person may act elsewhere than in the spec, and no event would tell: look again by and by.
        self.look_again = look_again


class RetryError(ClipModelError):
    """The world failed; the same pass may succeed later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ForbiddenError(RetryError):
    """The operator lacks a permission (403 by the authorizer); whoever gives it need not touch the ClipModel."""


class ConflictError(RetryError):
    """The object is another one, or another state of it, than the request takes for granted (409)."""


class AlreadyExistsError(ConflictError):
    """There is an object of that name (409, to a create)."""


class GoneError(ClipModelError):
    """The object is not there any more."""


class RejectedError(ClipModelError):
    """The API server refuses an object that we rendered (400, 413, 422, 403 by admission), or Triton a request (400): their own words say why."""


class DeniedError(RejectedError):
    """An admission rule of this cluster refuses what the API itself would accept: the object can change, or the rule, or what the rule looks at."""


class LoadRefusedError(RejectedError):
    """Triton cannot load a model."""

    def __init__(self, message: str, *, causes: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.causes = dict(causes or {})
        """Why, of each version that Triton names."""
