"""A sync that is killed at any step leaves only verified versions, and the next one finishes the work.

A kill is simulated: from one call of the operating system on, every further one fails with what no code catches, so that no cleaning up
happens either. That is what SIGKILL does; one test at the end sends the real one.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipmodel_contract.reasons import SyncReason
from clipmodel_sync.errors import SyncError

from .conftest import Place, WebServer, cut

# Everything that changes a file system, and opening, which may create.
CALLS = ["open", "write", "mkdir", "rename", "link", "chmod", "fchmod", "fsync", "unlink", "rmdir", "ftruncate"]


class Killed(BaseException):
    """Nothing may catch this."""


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Let the first `step` calls happen and no other; yield the calls that happened."""
    done: list[str] = []
    dead = False

    def wrap(name: str, real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal dead
            if len(done) >= step or dead:
                if name == "write" and not dead:
                    # A kill in the middle of a write: some of it is there.
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                dead = True
                raise Killed
            done.append(name)
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrap(name, getattr(os, name)))
        yield done


def check_volume(place: Place, allowed: dict[str, bytes]) -> None:
    """What every moment must satisfy: what lies in the repository is one of the whole files, and the state tells the truth."""
    for name in ("tiny", "tiny__candidate"):
        for directory in (place.volume / "repository" / name).glob("[0-9]*"):
            content = (directory / "model.onnx").read_bytes()
            assert hashlib.sha256(content).hexdigest() in allowed, f"{directory} holds something else"
    if place.layout.state_file.exists():
        state = json.loads(place.layout.state_file.read_text())
        assert state["result"] == "Synced"
        assert state["sha256"] == hashlib.sha256(place.layout.version_file.read_bytes()).hexdigest()


def check_done(place: Place, model: bytes) -> None:
    assert place.layout.version_file.read_bytes() == model
    assert place.layout.version_file.samefile(place.layout.candidate_directory / "model.onnx")
    assert json.loads(place.layout.state_file.read_text())["sha256"] == hashlib.sha256(model).hexdigest()
    assert not place.layout.staging.exists()


def count_steps(tmp_path: Path, model: bytes) -> int:
    place = fresh(tmp_path / "count")
    uri = place.put(model)
    with killed_at(10**9) as done:
        place.sync(uri, model)
    return len(done)


def fresh(root: Path) -> Place:
    (root / "volume").mkdir(parents=True)
    return Place(root)


def test_killed_at_every_single_step(tmp_path: Path, model: bytes) -> None:
    steps = count_steps(tmp_path, model)
    assert steps > 30, "the calls are not seen: this test would prove nothing"
    for step in range(steps):
        place = fresh(tmp_path / str(step))
        uri = place.put(model)
        with killed_at(step), pytest.raises(Killed):
            place.sync(uri, model)
        check_volume(place, {hashlib.sha256(model).hexdigest(): model})
        assert place.sync(uri, model)["result"] == "Synced", step
        check_done(place, model)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=5), last=st.booleans())
def test_any_history_of_kills_and_changes_of_mind(
    tmp_path_factory: pytest.TempPathFactory,
    model: bytes,
    other_model: bytes,
    runs: list[tuple[bool, int]],
    *,
    last: bool,
) -> None:
    """The user may also correct the digest between tries: a number is taken once a run got as far as its state file."""
    place = fresh(tmp_path_factory.mktemp("history"))
    models = {False: model, True: other_model}
    allowed = {hashlib.sha256(content).hexdigest(): content for content in models.values()}
    uris = {choice: place.put(content, f"{choice}.onnx") for choice, content in models.items()}
    for choice, step in runs:
        with killed_at(step), contextlib.suppress(Killed, SyncError):
            place.sync(uris[choice], models[choice])
        check_volume(place, allowed)
    state = place.layout.state_file
    taken = json.loads(state.read_text())["sha256"] if state.exists() else None
    if taken in (None, hashlib.sha256(models[last]).hexdigest()):
        assert place.sync(uris[last], models[last])["result"] == "Synced"
        check_done(place, models[last])
    else:
        assert place.fail(uris[last], models[last])[0] is SyncReason.VERSION_IMMUTABLE
        assert place.sync(uris[not last], models[not last])["result"] == "Synced"
        check_done(place, models[not last])


def test_killed_while_exchanging_a_damaged_version(tmp_path: Path, model: bytes) -> None:
    """The damaged bytes may be there until the exchange; half of anything, never."""
    damaged = b"damaged"
    allowed = {hashlib.sha256(content).hexdigest() for content in (model, damaged)}
    prepared = fresh(tmp_path / "prepared")
    prepared.sync(prepared.put(model), model)
    prepared.layout.version_file.chmod(0o644)
    prepared.layout.version_file.write_bytes(damaged)
    for step in itertools.count():
        place = Place(tmp_path / str(step))
        shutil.copytree(prepared.root, place.root)
        ended = False
        with killed_at(step), contextlib.suppress(Killed):
            place.sync("pvc://claim/model.onnx", model)
            ended = True
        if place.layout.version_directory.exists():
            assert hashlib.sha256(place.layout.version_file.read_bytes()).hexdigest() in allowed
        if ended:
            break
        assert place.sync("pvc://claim/model.onnx", model)["result"] == "Synced", step
        check_done(place, model)
    assert step > 30


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 11), (signal.SIGKILL, -signal.SIGKILL)], ids=["SIGTERM", "SIGKILL"]
)
@pytest.mark.timeout(60)
def test_a_real_signal_in_the_middle_of_a_download(
    place: Place, web: WebServer, model: bytes, number: signal.Signals, code: int
) -> None:
    def answer(handler: Any) -> None:
        cut(model, 1000)(handler)
        handler.wfile.flush()
        process.send_signal(number)
        web.stall()

    web.answers.append(answer)
    request = place.request(f"{web.url}/vit.onnx", model)
    report = place.root / "report.json"
    process = subprocess.Popen(
        [
            *[sys.executable, "-m", "clipmodel_sync", f"--volume={place.volume}", f"--report={report}"],
            *["--model=tiny", "--version=1", f"--uri={request.uri}", f"--sha256={request.sha256}"],
            *["--input-name=image", "--image-size=16", "--output-name=embedding", "--dimension=8"],
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.wait(30) == code
    if number is signal.SIGTERM:
        assert json.loads(report.read_text())["reason"] == "Interrupted"
        assert not place.layout.staging.exists()
    else:
        assert place.layout.staging.exists()
    check_volume(place, {})
    assert place.sync(place.put(model), model)["result"] == "Synced"
    check_done(place, model)
