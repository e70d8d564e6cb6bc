"""The command: what it takes, how it ends, and that a report is written whatever happens."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import clipmodel_sync
from clipmodel_contract.exit_codes import exit_code_of
from clipmodel_contract.reasons import SyncReason
from clipmodel_sync import cli
from clipmodel_sync import sync as sync_module
from support.command_line import run_without_reader

from .conftest import Place, WebServer, status


def arguments(place: Place, source: str, content: bytes, **changes: object) -> list[str]:
    given: dict[str, object] = {
        "volume": place.volume,
        "source-root": place.root / "source",
        "report": place.root / "report.json",
        "model": "tiny",
        "version": 1,
        "uri": source,
        "sha256": hashlib.sha256(content).hexdigest(),
        "input-name": "image",
        "image-size": 16,
        "output-name": "embedding",
        "dimension": 8,
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def report(place: Place) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place.root / "report.json").read_text())
    return content


@pytest.mark.parametrize("separate", [False, True])
def test_a_success(place: Place, model: bytes, capsys: pytest.CaptureFixture[str], *, separate: bool) -> None:
    given = arguments(place, place.put(model), model, sha256=hashlib.sha256(model).hexdigest().upper())
    if separate:
        given = [word for argument in given for word in argument.split("=", 1)]
    assert cli.main(given) == 0
    assert report(place) == json.loads(place.layout.state_file.read_text())
    assert f"100 % {len(model) / 1000:.1f} kB of {len(model) / 1000:.1f} kB" in capsys.readouterr().out


def test_an_end_that_needs_a_person(place: Place, model: bytes) -> None:
    assert cli.main(arguments(place, "pvc://claim/nothing", model)) == 10
    assert report(place)["reason"] == "SourceNotFound"
    assert report(place)["result"] == "Failed"


def test_an_end_that_waiting_may_mend(
    place: Place, web: WebServer, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("clipmodel_sync.sources.options.FetchOptions", lambda: place.options)
    web.answers.append(status(503))
    assert cli.main(arguments(place, f"{web.url}/vit.onnx", model)) == 11
    assert report(place)["result"] == "Retry"


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "abc"},
        {"sha256": None},
        {"model": "../escape"},
        {"model": "tiny__candidate"},
        {"model": ""},
        {"version": 0},
        {"version": "one"},
        {"dimension": 1281},
        {"image_size": 0},
        {"input_name": "x" * 65},
        {"output_name": "two words"},
        {"unknown": 1},
        {"uri": None},
    ],
)
def test_wrong_usage(place: Place, model: bytes, changes: dict[str, object]) -> None:
    assert cli.main(arguments(place, "pvc://claim/x", model, **changes)) == 2
    said = report(place)
    assert (said["result"], said["reason"]) == ("Failed", "InvalidArguments")
    assert said["version"] == (0 if changes.get("version") == "one" else changes.get("version", 1))
    [name] = changes
    assert name.replace("_", "-") in said["message"]


def test_help_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert "--sha256" in capsys.readouterr().out


def test_a_bug_is_reported_without_secrets(
    place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise KeyError("https://host/vit.onnx?sig=secret")

    monkeypatch.setattr(sync_module, "sync", fail)
    assert cli.main(arguments(place, "https://host/vit.onnx?sig=secret", model)) == 1
    assert (report(place)["result"], report(place)["reason"]) == ("Retry", "InternalError")
    out = capsys.readouterr().out
    assert "Traceback" in out
    assert "secret" not in out + json.dumps(report(place))


@pytest.mark.parametrize("where", ["onnx.load_from_string", "onnx.checker.check_model", "onnxruntime.InferenceSession"])
def test_being_stopped_inside_a_library_is_no_fault_of_the_model(
    place: Place, model: bytes, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(where, stop)
    assert cli.main(arguments(place, place.put(model), model)) == 11
    assert report(place)["reason"] == "Interrupted"
    assert not place.layout.staging.exists()


def test_a_report_that_cannot_be_written_changes_nothing_else(place: Place, model: bytes) -> None:
    assert cli.main(arguments(place, place.put(model), model, report=place.root / "no" / "report")) == 0
    assert place.layout.state_file.exists()


def test_the_report_is_written_into_the_file_that_is_there(place: Place, model: bytes) -> None:
    path = place.root / "report.json"
    path.write_text("x" * 9000)
    before = path.stat().st_ino
    cli.main(arguments(place, place.put(model), model))
    assert path.stat().st_ino == before
    assert report(place)["result"] == "Synced"


def test_telemetry_is_off_before_onnxruntime_is_loaded() -> None:
    code = (
        "import os, sys; import clipmodel_sync.cli, clipmodel_sync.checks.proof;"
        "assert 'onnxruntime' not in sys.modules and 'onnx' not in sys.modules;"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    )
    bare = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    root = str(Path(clipmodel_sync.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", code], env={**bare, "PYTHONPATH": root}, check=True, text=True, stdout=subprocess.PIPE
    )
    assert found.stdout.split() == ["1", "1"]


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_sync_whose_log_nobody_reads_goes_on_to_its_report(tmp_path: Path, *, unbuffered: bool) -> None:
    report = tmp_path / "report"
    done = run_without_reader("-m", "clipmodel_sync", "--report", str(report), unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (exit_code_of(SyncReason.INVALID_ARGUMENTS), "")
    assert json.loads(report.read_text())["reason"] == "InvalidArguments"


def test_help_that_nobody_reads_is_no_failure() -> None:
    done = run_without_reader("-m", "clipmodel_sync", "--help")
    assert (done.returncode, done.stderr) == (0, "")
