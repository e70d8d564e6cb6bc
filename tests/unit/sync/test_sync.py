"""What is on the volume after a sync, and what a sync makes of what it finds there."""

import base64
import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from clipmodel_contract.reasons import SyncReason
from clipmodel_sync.errors import SyncError

from .conftest import Place, WebServer, cut, status, whole


def test_the_volume_after_a_sync(place: Place, model: bytes) -> None:
    previous = os.umask(0o077)
    try:
        report = place.sync(place.put(model), model)
    finally:
        os.umask(previous)
    assert sorted(path for path in place.files() if not path.endswith(".lock")) == [
        ".state/1.json",
        "repository/tiny/1/model.onnx",
        "repository/tiny__candidate/1/model.onnx",
    ]
    layout = place.layout
    assert layout.version_file.read_bytes() == model
    assert layout.version_file.samefile(layout.candidate_directory / "model.onnx")
    assert list(layout.configs_directory.iterdir()) == []
    assert stat.S_IMODE(layout.version_file.stat().st_mode) == 0o444
    for directory in [layout.version_directory, *layout.version_directory.parents]:
        if directory == place.volume:
            break
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755, directory
    assert json.loads(layout.state_file.read_text()) == report
    assert report["sha256"] == hashlib.sha256(model).hexdigest()
    assert report["bytes"] == len(model)
    assert not layout.staging.exists()


def test_a_version_that_is_there_is_not_fetched_again(place: Place, web: WebServer, model: bytes) -> None:
    web.answers.append(whole(model))
    first = place.sync(f"{web.url}/vit.onnx", model)
    before = place.layout.state_file.stat().st_mtime_ns, place.layout.version_file.stat().st_ino
    web.answers.append(status(404))
    assert place.sync(f"{web.url}/moved.onnx", model) == first
    assert len(web.requests) == 1
    assert before == (place.layout.state_file.stat().st_mtime_ns, place.layout.version_file.stat().st_ino)


def test_a_version_that_is_there_is_proven_again(place: Place, model: bytes) -> None:
    uri = place.put(model)
    place.sync(uri, model)
    wrong = replace(place.request(uri, model).tensors, input_name="pixels")
    before = place.files()
    assert place.fail(uri, model, tensors=wrong)[0] is SyncReason.SIGNATURE_MISMATCH
    assert place.files() == before


def _record_vectors(place: Place, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> None:
    """Make the state file say that these bytes gave other golden vectors when they were first proven."""
    recorded = json.loads(place.layout.state_file.read_text())
    vectors = [np.frombuffer(base64.b64decode(v), "<f2").astype(np.float32) for v in recorded["golden"]["vectors"]]
    recorded["golden"]["vectors"] = [base64.b64encode(change(v).astype("<f2").tobytes()).decode() for v in vectors]
    place.layout.state_file.write_text(json.dumps(recorded, separators=(",", ":")))


def test_the_first_record_stands_where_only_last_digits_differ(place: Place, model: bytes) -> None:
    """Another processor's last digits must not give the same bytes another embedding space."""
    uri = place.put(model)
    first = place.sync(uri, model)
    _record_vectors(place, lambda v: v * np.float32(1.001))
    before = place.layout.state_file.read_text()
    again = place.sync(uri, model)
    assert again["golden"]["vectors"] != first["golden"]["vectors"]
    assert place.layout.state_file.read_text() == before


def test_the_same_bytes_with_other_embeddings_are_refused(place: Place, model: bytes) -> None:
    """A release of ONNX Runtime that computes otherwise would change embeddings without a word."""
    uri = place.put(model)
    place.sync(uri, model)
    _record_vectors(place, lambda v: v[::-1].copy())
    before = place.files()
    reason, message = place.fail(uri, model)
    assert reason is SyncReason.PROOF_FAILED
    assert "other embeddings" in message
    assert place.files() == before


def test_another_digest_under_the_same_number(place: Place, model: bytes, other_model: bytes) -> None:
    place.sync(place.put(model), model)
    before = place.files()
    reason, message = place.fail(place.put(other_model, "b.onnx"), other_model)
    assert reason is SyncReason.VERSION_IMMUTABLE
    assert hashlib.sha256(model).hexdigest() in message
    assert hashlib.sha256(other_model).hexdigest() in message
    assert len(message) <= 256
    assert place.files() == before


def test_a_number_stays_taken_when_its_files_are_gone(place: Place, model: bytes, other_model: bytes) -> None:
    place.sync(place.put(model), model)
    place.layout.version_file.unlink()
    place.layout.version_directory.rmdir()
    assert place.fail(place.put(other_model), other_model)[0] is SyncReason.VERSION_IMMUTABLE


def test_versions_live_side_by_side(place: Place, model: bytes, other_model: bytes) -> None:
    place.sync(place.put(model), model)
    place.sync(place.put(other_model, "b.onnx"), other_model, version=2)
    assert (place.layout.model_directory / "1" / "model.onnx").read_bytes() == model
    assert (place.layout.model_directory / "2" / "model.onnx").read_bytes() == other_model


def test_a_wrong_file_names_both_digests(place: Place, model: bytes, other_model: bytes) -> None:
    reason, message = place.fail(place.put(other_model), model)
    assert reason is SyncReason.DIGEST_MISMATCH
    assert hashlib.sha256(model).hexdigest() in message
    assert hashlib.sha256(other_model).hexdigest() in message
    assert len(message) <= 256
    assert not place.layout.version_directory.exists()


def test_a_wanted_version_without_a_state_is_taken(place: Place, model: bytes) -> None:
    place.layout.version_directory.mkdir(parents=True)
    place.layout.version_file.write_bytes(model)
    assert place.sync("pvc://claim/nothing", model)["result"] == "Synced"
    assert place.layout.version_file.samefile(place.layout.candidate_directory / "model.onnx")


@pytest.mark.parametrize("content", [b"half a mod", None], ids=["other-bytes", "no-file"])
def test_an_unwanted_version_without_a_state_is_removed(place: Place, model: bytes, content: bytes | None) -> None:
    place.layout.version_directory.mkdir(parents=True)
    if content is not None:
        place.layout.version_file.write_bytes(content)
    assert place.fail("pvc://claim/nothing", model)[0] is SyncReason.SOURCE_NOT_FOUND
    assert not place.layout.version_directory.exists()
    assert place.sync(place.put(model), model)["result"] == "Synced"
    assert place.layout.version_file.read_bytes() == model


@pytest.mark.parametrize("damage", ["changed", "cut", "file gone", "directory gone"])
def test_a_damaged_version_is_exchanged_once_the_right_bytes_are_there(
    place: Place, web: WebServer, model: bytes, damage: str
) -> None:
    uri = place.put(model)
    place.sync(uri, model)
    place.layout.version_file.chmod(0o644)
    match damage:
        case "changed":
            place.layout.version_file.write_bytes(model[:-1] + b"!")
        case "cut":
            place.layout.version_file.write_bytes(model[:99])
        case _:
            place.layout.version_file.unlink()
    if damage == "directory gone":
        place.layout.version_directory.rmdir()
    before = place.files()
    web.answers.append(cut(model, 50))
    assert place.fail(f"{web.url}/vit.onnx", model)[0] is SyncReason.DOWNLOAD_TRUNCATED
    assert place.files() == before
    assert place.sync(uri, model)["result"] == "Synced"
    assert place.layout.version_file.read_bytes() == model
    assert place.layout.version_file.samefile(place.layout.candidate_directory / "model.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 1}', "\0"])
def test_a_broken_state_file_removes_nothing(place: Place, model: bytes, other_model: bytes, text: str) -> None:
    place.sync(place.put(model), model)
    place.layout.state_file.write_text(text)
    before = place.files()
    assert place.fail(place.put(other_model, "b.onnx"), other_model)[0] is SyncReason.VERSION_IMMUTABLE
    assert place.files() == before
    assert place.sync("pvc://claim/nothing", model)["result"] == "Synced"
    assert json.loads(place.layout.state_file.read_text())["result"] == "Synced"


def test_what_another_run_left_in_staging_is_removed(place: Place, web: WebServer, model: bytes) -> None:
    (place.layout.staging / "old" / "version").mkdir(parents=True)
    (place.layout.staging / "old" / "version" / "model.onnx").write_bytes(b"half")
    other = place.volume / "staging" / "tiny-2" / "x"
    other.mkdir(parents=True)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        # Before the download, which may need the room.
        assert not (place.layout.staging / "old").exists()
        whole(model)(handler)

    web.answers.append(answer)
    assert place.sync(f"{web.url}/vit.onnx", model)["result"] == "Synced"
    assert not place.layout.staging.exists()
    assert other.exists(), "another version's Job may be at work there"


def test_two_jobs_of_one_version_do_not_meet(place: Place, model: bytes) -> None:
    uri = place.put(model)
    place.layout.lock_file.parent.mkdir(parents=True)
    inside = place.layout.staging / "of-the-other-job"
    inside.mkdir(parents=True)
    with place.layout.lock_file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SyncError) as caught:
            place.sync(uri, model)
        assert caught.value.reason is SyncReason.VOLUME_BUSY
        assert inside.exists()
        assert sum(place.slept) >= 1
    assert place.sync(uri, model)["result"] == "Synced"


def test_a_file_system_without_locks(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert place.sync(place.put(model), model)["result"] == "Synced"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, SyncReason.VOLUME_FULL),
        (errno.EDQUOT, SyncReason.VOLUME_FULL),
        (errno.EIO, SyncReason.VOLUME_FAILED),
        (errno.EROFS, SyncReason.VOLUME_FAILED),
    ],
)
def test_a_volume_that_fails_while_writing(
    place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch, number: int, reason: SyncReason
) -> None:
    uri = place.put(model)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number), "/volume/staging/tiny-1/tmpx7f3/version/model.onnx")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        found, message = place.fail(uri, model)
    assert found is reason
    assert "tmpx7f3" not in message
    if reason is SyncReason.VOLUME_FULL:
        assert f"({len(model)} bytes)" in message
    assert place.sync(uri, model)["result"] == "Synced"


def test_writes_that_take_only_a_part(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = place.put(model)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:100]))
    assert place.sync(uri, model)["result"] == "Synced"
    assert place.layout.version_file.read_bytes() == model
    assert json.loads(place.layout.state_file.read_text())["result"] == "Synced"


def test_a_volume_without_hard_links(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert place.fail(place.put(model), model)[0] is SyncReason.VOLUME_FAILED
    assert not place.layout.state_file.exists()


def test_a_volume_that_is_not_ours(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    uri = place.put(model)
    monkeypatch.setattr(os, "mkdir", refuse)
    reason, message = place.fail(uri, model)
    assert reason is SyncReason.VOLUME_FAILED
    assert "1000" in message


def test_too_little_space_is_found_before_anything_is_written(
    place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = place.put(model)
    written: list[Any] = []
    real = os.statvfs

    class Full:
        f_bavail = 3
        f_frsize = real(place.root).f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    monkeypatch.setattr(os, "write", lambda *arguments: written.append(arguments))
    assert place.fail(uri, model)[0] is SyncReason.VOLUME_FULL
    assert written == []


def test_files_are_flushed_before_they_are_named(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a name must not lead to bytes that never reached the disk."""
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def seen_rename(source: str, target: str) -> None:
        events.append(f"rename {Path(target).relative_to(place.volume)}")
        rename(source, target)

    uri = place.put(model)
    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    place.sync(uri, model)
    at = {event: events.index(event) for event in events}
    assert at["fsync model.onnx"] < at["rename repository/tiny/1"] < at["rename repository/tiny__candidate/1"]
    # A directory's own name is on the disk before it holds anything.
    assert events.index("fsync repository") < at["rename repository/tiny/1"]
    assert events[0] == "fsync volume"
    assert events[-1] == "fsync .state"
    assert events[-2] == "rename .state/1.json"
    assert events[-3].startswith("fsync .1-")


def _fsync_of_the_model(before: Callable[[], None]) -> Callable[[int], None]:
    """Do something before the model's file is flushed."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "model.onnx":
            before()
        real(descriptor)

    return fsync


def test_the_file_is_flushed_while_it_is_proven(place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk takes seconds for it, and so does the proof."""
    is_checked = threading.Event()
    real = onnx.checker.check_model

    def check(content: bytes) -> None:
        real(content)
        is_checked.set()

    def wait() -> None:
        assert is_checked.wait(20), "the inspection waits for the flush"
        assert not place.layout.version_directory.exists()

    monkeypatch.setattr(onnx.checker, "check_model", check)
    monkeypatch.setattr(os, "fsync", _fsync_of_the_model(wait))
    assert place.sync(place.put(model), model)["result"] == "Synced"


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, SyncReason.VOLUME_FULL), (errno.EIO, SyncReason.VOLUME_FAILED)]
)
def test_a_file_that_cannot_be_flushed_is_not_put_in_place(
    place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch, number: int, reason: SyncReason
) -> None:
    uri = place.put(model)

    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _fsync_of_the_model(refuse))
        found, message = place.fail(uri, model)
    assert found is reason
    if reason is SyncReason.VOLUME_FULL:
        assert f"({len(model)} bytes)" in message
    assert not place.layout.version_directory.exists()
    assert not place.layout.state_file.exists()
    assert place.sync(uri, model)["result"] == "Synced"
