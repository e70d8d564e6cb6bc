"""From a request to a version on the volume: which steps, in which order, and which are done already.

What is on the volume decides whether bytes are fetched; then they are inspected and proven; then they are put
in place; then the state file says so. A run that is killed anywhere leaves what the next run understands.
"""

import json
import logging
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from importlib import import_module
from pathlib import Path

from clipmodel_contract import golden
from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.report import ReportError, VersionRecord, canonical_signature, parse_report, render_report
from clipmodel_contract.volume_layout import VersionLayout
from clipmodel_sync.checks.inspection import inspect
from clipmodel_sync.checks.proof import Floats, prove
from clipmodel_sync.errors import SyncError
from clipmodel_sync.request import Request
from clipmodel_sync.sources.fetch import fetch, parse_source
from clipmodel_sync.sources.options import FetchOptions
from clipmodel_sync.volume.faults import translate_errors
from clipmodel_sync.volume.lock import locked
from clipmodel_sync.volume.publish import (
    digest_file,
    prepare_repository,
    publish,
    publish_candidate,
    remove_version,
)
from clipmodel_sync.volume.staging import StagedFile, Staging, staged
from clipmodel_sync.volume.state import read_state, write_state

log = logging.getLogger(__name__)

# A Job that was replaced has 30 s to end.
LOCK_PATIENCE_SECONDS = 40.0


class _State(Enum):
    """What `.state/N.json` says about the wanted digest."""

    ABSENT = auto()
    UNREADABLE = auto()
    WANTED = auto()


@dataclass(frozen=True, slots=True)
class _Present:
    """The wanted bytes, wherever they are now."""

    path: Path
    size_bytes: int
    # Of bytes that are in place already there is none.
    flushed: Future[None] | None = None


def sync(request: Request, *, fetch_options: FetchOptions, lock_patience_seconds: float = LOCK_PATIENCE_SECONDS) -> str:
    """Bring the version onto the volume and return its report.

    Raises:
        SyncError: with the reason for the user.

    """
    layout = VersionLayout(root=request.volume, model=request.model, version=request.version)
    with (
        translate_errors(),
        locked(layout, patience_seconds=lock_patience_seconds, sleep=fetch_options.sleep),
        staged(layout) as staging,
        # Left only when all that was begun there has ended.
        ThreadPoolExecutor() as background,
    ):
        background.submit(_import_libraries)
        present = _find(request, layout, staging) or _fetch(request, staging, fetch_options, background)
        vectors = _inspect_and_prove(request, present)
        report = _settle(read_state(layout), _record(request, present, vectors), vectors)
        if present.flushed is None:
            prepare_repository(layout)
        else:
            present.flushed.result()
            publish(layout, staging)
        publish_candidate(layout, staging)
        write_state(layout, report)
    log.info("version %s is on the volume: %s", request.version, layout.version_file)
    return report


def _find(request: Request, layout: VersionLayout, staging: Staging) -> _Present | None:
    """Return the wanted version if the volume has it; remove what an interrupted run left of another."""
    state = _read_state(request, layout)
    found = digest_file(layout.version_file)
    if found is not None and found[0] == request.sha256:
        log.info("version %s is on the volume with the wanted digest: nothing to fetch", request.version)
        return _Present(path=layout.version_file, size_bytes=found[1])
    match state:
        case _State.WANTED:
            # Damaged or lost after it was synced: `publish` exchanges it, once the right bytes are there.
            log.warning("version %s was synced, but its file is gone or damaged: fetching it again", request.version)
        case _State.UNREADABLE if found is not None:
            raise _immutable(request, found[0])
        case _State.UNREADABLE | _State.ABSENT:
            remove_version(layout.version_directory, staging)
            remove_version(layout.candidate_directory, staging)
    return None


def _read_state(request: Request, layout: VersionLayout) -> _State:
    text = read_state(layout)
    if text is None:
        return _State.ABSENT
    try:
        recorded = json.loads(text)["sha256"]
    except (ValueError, LookupError, TypeError):
        # No interrupted run leaves that. Nothing is removed on the word of a broken file.
        return _State.UNREADABLE
    if recorded != request.sha256:
        raise _immutable(request, recorded)
    return _State.WANTED


def _immutable(request: Request, found: object) -> SyncError:
    return SyncError(
        SyncReason.VERSION_IMMUTABLE,
        f"the volume holds version {request.version} with sha256 {found}, the spec says {request.sha256}."
        " A version's bytes never change: give the new ones a new number.",
    )


def _import_libraries() -> None:
    """Import what the inspection and the proof will, while bytes are on their way. What fails here fails there again, and is told."""
    import_module("onnx")
    import_module("onnxruntime")


def _fetch(request: Request, staging: Staging, options: FetchOptions, background: Executor) -> _Present:
    file = StagedFile(staging.file)
    try:
        _fetch_wanted(request, file, options)
    except BaseException:
        file.close()
        raise
    # A slow disk takes seconds for it, in which the file can be inspected and proven; it is not put in place before.
    return _Present(path=staging.file, size_bytes=file.size_bytes, flushed=background.submit(_finish, file))


def _fetch_wanted(request: Request, file: StagedFile, options: FetchOptions) -> None:
    source = parse_source(request.uri)

    def fetch_all() -> bool:
        return fetch(source, file=file, volume=request.volume, source_root=request.source_root, options=options)

    was_put_together = fetch_all()
    if was_put_together and file.sha256 != request.sha256:
        # The server may have sent parts of two different files: ask once more, for all of it.
        file.restart()
        fetch_all()
    if file.sha256 != request.sha256:
        raise SyncError(
            SyncReason.DIGEST_MISMATCH,
            f"sha256 is {file.sha256} ({file.size_bytes} bytes), the spec says {request.sha256}."
            " Correct the spec's sha256 if the file is right, else its uri.",
        )


def _finish(file: StagedFile) -> None:
    try:
        with translate_errors(needed_bytes=file.size_bytes):
            file.finish()
    finally:
        file.close()


def _record(request: Request, present: _Present, vectors: Floats) -> VersionRecord:
    return VersionRecord(
        version=request.version,
        sha256=request.sha256,
        size_bytes=present.size_bytes,
        signature=canonical_signature(request.tensors.to_signature()),
        vectors=tuple(golden.encode_vector(row.tolist()) for row in vectors),
    )


def _settle(recorded: str | None, record: VersionRecord, vectors: Floats) -> str:
    """Return the report that was recorded when these bytes were first proven, if the new proof agrees with it.

    Another processor changes the last digits, and with them the name of the embedding space: the first record stands.

    Raises:
        SyncError: ProofFailed, where the same bytes give other embeddings than they did.

    """
    before = _parse_record(recorded) if recorded is not None else None
    if recorded is None or before is None or before.sha256 != record.sha256:
        return render_report(record)
    proven = [golden.decode_vector(vector) for vector in before.vectors]
    if len(proven) <= len(vectors) and all(
        golden.difference(tuple(new.tolist()), old) is None for new, old in zip(vectors, proven, strict=False)
    ):
        return recorded
    raise SyncError(
        SyncReason.PROOF_FAILED,
        "the same bytes give other embeddings than when they were first proven: ONNX Runtime computes otherwise."
        " Use the earlier release's sync image, or publish the file under a new version number.",
    )


def _parse_record(text: str) -> VersionRecord | None:
    """Read the volume's record; None where it has none whose golden vectors can be compared with today's."""
    try:
        found = parse_report(text)
    except ReportError:
        return None
    return found if isinstance(found, VersionRecord) else None


def _inspect_and_prove(request: Request, present: _Present) -> Floats:
    log.info("checking the model's tensors")
    inspect(present.path, request.tensors)
    log.info("embedding the golden images with ONNX Runtime")
    return prove(present.path, request.tensors)
