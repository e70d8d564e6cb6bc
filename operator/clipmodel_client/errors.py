"""What can go wrong between a photograph and its embedding, and what the user does next.

Every error carries one sentence about what was found and one about what to do. Errors of others (gRPC, HTTP,
kubectl, Pillow) are translated once, at the border, with the original chained; anything that is not a
`ClientError` is a bug of ours and keeps its traceback.
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of `clipmodel embed`; scripts may depend on them."""

    OK = 0
    USAGE = 2  # the same as typer's own
    UNREACHABLE = 3  # nobody answers there, or kubectl cannot reach the cluster: trying again can help
    TIMEOUT = 4
    NOT_FOUND = 5  # no such ClipModel, Service or model
    REJECTED = 6  # the server answered, and said no
    BAD_IMAGE = 7
    BAD_EMBEDDING = 8  # what came back is not an embedding: not finite, or all zero
    OVER_TOLERANCE = 9  # --compare: served and direct embeddings differ
    MISSING_PROGRAM = 10  # a library of the extra `client`, or kubectl


class ClientError(Exception):
    """Base of all errors that end in a clean message."""

    exit_code: ClassVar[ExitCode] = ExitCode.REJECTED

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class UsageError(ClientError):
    """The options contradict each other."""

    exit_code = ExitCode.USAGE


class UnreachableError(ClientError):
    """Nobody answers at that address."""

    exit_code = ExitCode.UNREACHABLE


class RequestTimeoutError(ClientError):
    """The answer did not come in time."""

    exit_code = ExitCode.TIMEOUT


class NotFoundError(ClientError):
    """The ClipModel, Service or model does not exist."""

    exit_code = ExitCode.NOT_FOUND


class RejectedError(ClientError):
    """The server or the cluster answered, and refused."""

    exit_code = ExitCode.REJECTED


class ImageError(ClientError):
    """The file cannot be turned into what the model takes."""

    exit_code = ExitCode.BAD_IMAGE


class EmbeddingError(ClientError):
    """The server answered with something that is not an embedding."""

    exit_code = ExitCode.BAD_EMBEDDING


class MissingProgramError(ClientError):
    """A library or a program that this needs is not installed."""

    exit_code = ExitCode.MISSING_PROGRAM
