"""A file appears whole or not at all, and never over another."""

import errno
import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from clipmodel_export.errors import OutputError, OutputExistsError
from clipmodel_export.writing import commit, compute_sha256, staged

CONTENT = b"model" * 100_000


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_what_is_committed_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "repository" / "1" / "model.onnx"
    wrote: list[int] = []
    with staged(CONTENT, output, advance=wrote.append) as candidate:
        assert not output.exists()
        assert candidate.path.read_bytes() == CONTENT
        commit(candidate, output, force=False)
    assert output.read_bytes() == CONTENT
    assert candidate.sha256 == hashlib.sha256(CONTENT).hexdigest() == compute_sha256(output)
    assert candidate.size_bytes == sum(wrote) == len(CONTENT)
    assert list_names(output.parent) == ["model.onnx"]
    assert output.stat().st_nlink == 1


def test_the_umask_decides_the_mode(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with staged(CONTENT, tmp_path / "model.onnx") as candidate:
            assert candidate.path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_what_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged(CONTENT, tmp_path / "model.onnx"):
        raise RuntimeError("verification failed")
    assert list_names(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with staged(CONTENT, output) as candidate:
        output.write_bytes(b"somebody else's")
        with pytest.raises(OutputExistsError, match="appeared") as caught:
            commit(candidate, output, force=False)
    assert "--force" in caught.value.advice
    assert output.read_bytes() == b"somebody else's"
    assert list_names(tmp_path) == ["model.onnx"]


def test_force_replaces(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"old")
    with staged(CONTENT, output) as candidate:
        commit(candidate, output, force=True)
    assert output.read_bytes() == CONTENT
    assert list_names(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_file_system_without_hard_links_works_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    output = tmp_path / "model.onnx"
    if taken:
        output.write_bytes(b"old")
        with staged(CONTENT, output) as candidate, pytest.raises(OutputExistsError):
            commit(candidate, output, force=False)
        assert output.read_bytes() == b"old"
    else:
        with staged(CONTENT, output) as candidate:
            commit(candidate, output, force=False)
        assert output.read_bytes() == CONTENT


def test_two_exports_to_one_place_do_not_mix(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with staged(CONTENT, output) as first:
        with pytest.raises(OutputError, match="Another export"), staged(b"other", output):
            pass
        commit(first, output, force=False)
    assert output.read_bytes() == CONTENT


def test_the_partial_file_of_a_killed_export_is_taken_over(tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_stage_and_wait, args=(output, started.set))
    process.start()
    assert started.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert not output.exists()
    assert list_names(tmp_path) == [".model.onnx.partial"]

    with staged(b"short", output) as candidate:
        commit(candidate, output, force=False)
    assert output.read_bytes() == b"short"
    assert list_names(tmp_path) == ["model.onnx"]


def _stage_and_wait(output: Path, started: Callable[[], None]) -> None:
    with staged(CONTENT, output):
        started()
        signal.pause()


def test_a_full_disk_is_said_with_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with (
        pytest.raises(OutputError, match=f"needs {len(CONTENT)} bytes"),
        staged(CONTENT, tmp_path / "model.onnx"),
    ):
        pass
    assert list_names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"), staged(CONTENT, tmp_path / "file" / "model.onnx"):
        pass


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".model.onnx.partial").symlink_to(victim)
    with pytest.raises(OutputError), staged(CONTENT, tmp_path / "model.onnx"):
        pass
    assert victim.read_bytes() == b"precious"
