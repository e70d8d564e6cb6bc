"""What can go wrong in an export, what the user does next, and the exit code that scripts see.

Only `ExportError` becomes a clean message; anything else is our bug and keeps its traceback.
"""

from enum import IntEnum

from clipmodel_contract import exit_codes


class ExitCode(IntEnum):
    """Those of all programs that run to an end, and one more."""

    OK = exit_codes.ExitCode.OK
    USAGE = exit_codes.ExitCode.USAGE
    MUST_ACT = exit_codes.ExitCode.MUST_ACT
    TRY_AGAIN = exit_codes.ExitCode.TRY_AGAIN
    VERIFICATION_FAILED = 12


class ExportError(Exception):
    """The export cannot go on; the message says what was found, `advice` what to do."""

    exit_code = ExitCode.MUST_ACT

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class UsageError(ExportError):
    """Options that contradict each other."""

    exit_code = ExitCode.USAGE


class MissingExtraError(ExportError):
    """The libraries of the extra `export` are not installed, or cannot be loaded."""

    def __init__(self, library: str, reason: str) -> None:
        super().__init__(
            f"The exporter needs {library}, which cannot be imported: {reason}.",
            advice="Install the exporter's libraries: pip install 'clipmodel-operator[export]'",
        )


class UnknownModelError(ExportError):
    """OpenCLIP knows no such architecture or tag."""


class WeightsUnreachableError(ExportError):
    """The weights hub does not answer: trying again later, or elsewhere, can help."""

    exit_code = ExitCode.TRY_AGAIN


class CheckpointError(ExportError):
    """The checkpoint file is missing, unreadable, or not one of this architecture."""


class QuickGeluError(ExportError):
    """Nobody said which activation these weights were trained with, or two sources disagree."""


class UnsupportedModelError(ExportError):
    """The image tower cannot be written as one ONNX file with our tensors."""


class OutputExistsError(ExportError):
    """Another file is where the model should go."""


class OutputError(ExportError):
    """The output cannot be written."""


class VerificationError(ExportError):
    """The exported model does not keep its promises; it was not put in place."""

    exit_code = ExitCode.VERIFICATION_FAILED
