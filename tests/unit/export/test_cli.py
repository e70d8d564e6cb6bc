"""The command line without torch: options, exit codes, early refusals, what it imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipmodel_export import pipeline
from clipmodel_export.cli import app
from clipmodel_export.errors import ExitCode
from support.tiny_onnx import write_tiny_onnx

REQUIRE_LIBRARIES = pipeline._require_libraries
HEAVY = ("torch", "open_clip", "onnx", "onnxruntime", "numpy", "huggingface_hub")


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused here is refused before the libraries that take ten seconds to load."""

    def too_late(_: object) -> None:
        pytest.fail("not refused before loading torch")

    monkeypatch.setattr("clipmodel_export.pipeline._require_libraries", too_late)


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def run_python(code: str) -> str:
    # A fresh interpreter, in which telemetry is not switched off by anyone but the package.
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_command_imports_nothing_heavy() -> None:
    code = f"import sys, clipmodel_export.cli; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_importing_the_package_switches_telemetry_off() -> None:
    names = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
    assert run_python(f"import os, clipmodel_export; print([os.environ[n] for n in {names}])") == "['1', '1']"


def test_help_names_every_option() -> None:
    code, output = run("--help")
    assert code == ExitCode.OK
    for option in ("--output", "--architecture", "--pretrained", "--random-weights", "--seed", "--test", "--force"):
        assert option in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--random-weights", "--pretrained", "openai"),
        ("--seed", "3"),
        ("--random-weights", "--seed", "-1"),
        ("--no-such-option",),
        ("surplus",),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == ExitCode.USAGE


def test_a_folder_as_output_is_refused_early(tmp_path: Path) -> None:
    code, output = run("--random-weights", "--output", tmp_path)
    assert code == ExitCode.MUST_ACT
    assert f"{tmp_path} is a folder" in output


def test_a_place_below_a_file_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, output = run("--random-weights", "--output", tmp_path / "file" / "1" / "model.onnx")
    assert code == ExitCode.MUST_ACT
    assert "no folder that you can write" in output


def test_a_missing_checkpoint_is_refused_early(tmp_path: Path) -> None:
    code, output = run("--pretrained", tmp_path / "absent.pt", "--output", tmp_path / "model.onnx")
    assert code == ExitCode.MUST_ACT
    assert "absent.pt is not a file" in output


@pytest.mark.parametrize("content", ["another model", "junk"])
def test_another_file_at_the_output_is_refused_early_and_left(tmp_path: Path, content: str) -> None:
    output = tmp_path / "model.onnx"
    if content == "junk":
        output.write_bytes(b"junk")
    else:
        write_tiny_onnx(output)
    before = output.read_bytes()
    code, said = run("--random-weights", "--output", output)
    assert code == ExitCode.MUST_ACT
    assert "is left as it was" in said
    assert "--force" in said
    assert output.read_bytes() == before


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("clipmodel_export.pipeline._require_libraries", REQUIRE_LIBRARIES)
    monkeypatch.setattr("importlib.import_module", absent)
    code, output = run("--random-weights", "--output", tmp_path / "model.onnx")
    assert code == ExitCode.MUST_ACT
    assert "pip install 'clipmodel-operator[export]'" in output


def test_random_weights_are_announced_loudly(tmp_path: Path) -> None:
    _, output = run("--random-weights", "--seed", "5", "--output", tmp_path)
    assert "RANDOM WEIGHTS (seed 5)" in output
