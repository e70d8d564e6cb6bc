"""Arguments, signals, exit codes, and the report, which is written whatever happens."""

import argparse
import contextlib
import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Never, TextIO

from clipmodel_contract.exit_codes import ExitCode, exit_code_of
from clipmodel_contract.names import CANDIDATE_SUFFIX, is_candidate_name
from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.report import MAX_DIMENSION, MAX_TENSOR_NAME, Failure, clip, render_report
from clipmodel_contract.tensors import Tensors
from clipmodel_contract.volume_layout import SOURCE_MOUNT
from clipmodel_sync.errors import Interrupted, SyncError
from clipmodel_sync.request import Request

log = logging.getLogger("clipmodel_sync")

_REPORT: Final = Path("/dev/termination-log")
_MAX_IMAGE_SIZE: Final = 4096
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_TENSOR: Final = re.compile(rf"[!-~]{{1,{MAX_TENSOR_NAME}}}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_QUERY: Final = re.compile(r"\?[^\s'\"]+")


class _Log(logging.StreamHandler[TextIO]):
    """The log, for as long as somebody reads it. Without a reader the sync goes on: what it makes, its report and its exit code are elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:  # type: ignore[explicit-override]  # noqa: N802 - logging's name; 3.11 has no typing.override
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _write_nowhere(self.stream)
        else:
            super().handleError(record)


def _write_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _flush(stream: TextIO) -> None:
    """Write what is left; the interpreter, which would do it at its end, complains and ends with another exit code."""
    try:
        stream.flush()
    except BrokenPipeError:
        _write_nowhere(stream)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sync one version, write the report, return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(handlers=[_Log(sys.stdout)], format="%(message)s", level=logging.INFO, force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(given)
    finally:
        signal.signal(signal.SIGTERM, previous)
        _flush(sys.stdout)


def _run(arguments: list[str]) -> int:
    version, report_path = _parse_for_report(arguments)
    code = ExitCode.OK
    try:
        request = _parse(arguments)
        # Heavy libraries only for arguments that make sense.
        from clipmodel_sync.sources.options import FetchOptions
        from clipmodel_sync.sync import sync

        text = sync(request, fetch_options=FetchOptions())
    except SyncError as error:
        code = exit_code_of(error.reason)
        text = _failed(version, error.reason, error.message)
    except Interrupted:
        code = exit_code_of(SyncReason.INTERRUPTED)
        text = _failed(
            version,
            SyncReason.INTERRUPTED,
            "the sync was stopped (SIGTERM) before it was done: the next try begins again.",
        )
    except Exception as error:  # noqa: BLE001 - a bug must reach the status, too
        code = exit_code_of(SyncReason.INTERNAL_ERROR)
        log.error("%s", _QUERY.sub("?…", traceback.format_exc().rstrip()))  # noqa: TRY400 - with what is secret in it left out
        text = _failed(
            version,
            SyncReason.INTERNAL_ERROR,
            f"a bug in clipmodel-sync ({type(error).__name__}): the Job's log says more, please report it.",
        )
    _write_report(report_path, text)
    return int(code)


def _failed(version: int, reason: SyncReason, message: str) -> str:
    log.error("%s: %s", reason.value, clip(message))
    return render_report(Failure(reason.value, message, is_final=reason.is_final, version=version))


def _write_report(path: Path, text: str) -> None:
    """Write in place: a termination message is a mounted file, which cannot be replaced."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        # The exit code and, after a success, the state file on the volume still say it.
        log.error("the report cannot be written to %s: %s", path, os.strerror(error.errno or 0))  # noqa: TRY400


def _terminate(number: int, _frame: object) -> Never:
    """Unwind, so that staging is removed; a second signal must not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    raise Interrupted


def _parse_for_report(arguments: list[str]) -> tuple[int, Path]:
    """Find version and report among arguments that may be wrong otherwise."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--version", default="0")
    parser.add_argument("--report", type=Path, default=_REPORT)
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        found, _ = parser.parse_known_args(arguments)
        version = found.version if found.version.isascii() and found.version.isdigit() else "0"
        return int(version), found.report
    return 0, _REPORT


def _parse(arguments: list[str]) -> Request:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found = _parser().parse_args(arguments)
    except SystemExit as error:
        if not error.code:  # --help
            raise
        complaint = said.getvalue().strip().rpartition("error: ")[2]
        raise SyncError(SyncReason.INVALID_ARGUMENTS, f"{complaint} (see clipmodel-sync --help)") from error
    tensors = Tensors(
        input_name=found.input_name,
        image_size=found.image_size,
        output_name=found.output_name,
        dimension=found.dimension,
    )
    return Request(
        volume=found.volume,
        source_root=found.source_root,
        model=found.model,
        version=found.version,
        uri=found.uri,
        sha256=found.sha256,
        tensors=tensors,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clipmodel-sync",
        description="Bring one version of a model onto a volume: fetch, check, prove, put in place.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--volume", type=Path, required=True, help="the volume's root, mounted whole")
    add(
        "--source-root",
        type=Path,
        default=Path(SOURCE_MOUNT),
        help="where claims are mounted, by name (%(default)s)",
    )
    add("--report", type=Path, default=_REPORT, help="where the JSON report goes (%(default)s)")
    add("--model", type=_model, required=True, help="Triton's name of the model")
    add("--version", type=_number(1, 2**31 - 1), required=True, help="the version's number")
    add("--uri", required=True, help="https://…, http://… or pvc://CLAIM/PATH")
    add("--sha256", type=_sha256, required=True, help="the file's SHA-256, 64 hexadecimal digits")
    add("--input-name", type=_tensor, required=True, help="the tensor of pictures")
    add("--image-size", type=_number(1, _MAX_IMAGE_SIZE), required=True, help="their height and width")
    add("--output-name", type=_tensor, required=True, help="the tensor of embeddings")
    add("--dimension", type=_number(1, MAX_DIMENSION), required=True, help="their size")
    return parser


def _model(text: str) -> str:
    if not _MODEL.fullmatch(text) or is_candidate_name(text):
        raise argparse.ArgumentTypeError(
            f"letters, digits, '_', '-' and '.', a letter or digit first, not ending in '{CANDIDATE_SUFFIX}'"
        )
    return text


def _tensor(text: str) -> str:
    if not _TENSOR.fullmatch(text):
        raise argparse.ArgumentTypeError(f"1 to {MAX_TENSOR_NAME} printable ASCII characters")
    return text


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise argparse.ArgumentTypeError("64 hexadecimal digits, as sha256sum prints them")
    return text.lower()


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most}")
        return int(text)

    return parse
