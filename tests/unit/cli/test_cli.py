"""The `clipmodel` command: what it prints, how it ends, and what it advises."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clipmodel_operator import __version__, cli
from clipmodel_operator.api.v1alpha1.crd import render_crd
from clipmodel_operator.app import run as app_run
from support.command_line import run

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "manifests/samples/openclip-vit-b32.yaml"


def test_help_names_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    out = capsys.readouterr().out
    for command in ("crd", "render", "operator"):
        assert command in out


@pytest.mark.parametrize("command", ["crd", "render", "operator"])
def test_each_command_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert len(capsys.readouterr().out) > 100


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == f"clipmodel {__version__}"


def test_crd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "crd") == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out) == render_crd()
    assert out.startswith("# Generated"), "crds/ is this text"


def test_render_prints_every_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "render", "-f", str(SAMPLE)) == 0
    kinds = [o["kind"] for o in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds == ["PersistentVolumeClaim", "Job", "ConfigMap", "Secret", "Service", "Deployment"]


def test_render_prints_one_kind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(monkeypatch, "render", "-f", str(SAMPLE), "--only", "service", "--triton-image", "registry.example.com/t:1")
        == 0
    )
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "Service"


def test_render_takes_the_image(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            monkeypatch,
            "render",
            "-f",
            str(SAMPLE),
            "--only",
            "Deployment",
            "--triton-image",
            "registry.example.com/t:1",
        )
        == 0
    )
    assert "image: registry.example.com/t:1" in capsys.readouterr().out


def test_render_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(SAMPLE.read_text("utf-8")))
    assert run(monkeypatch, "render", "-f", "-", "--only", "config") == 0
    assert 'name: "openclip_vit_b32"' in capsys.readouterr().out


MODEL = SAMPLE.read_text("utf-8")
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n"
BROKEN = {
    "no ClipModel": (SERVICE, "found 0 objects of kind ClipModel, expected one"),
    "nothing at all": ("", "found 0 objects"),
    "two of them": (f"{MODEL}\n---\n{MODEL}", "found 2 objects of kind ClipModel"),
    "another apiVersion": (MODEL.replace("v1alpha1", "v2"), "expected clipmodel.dev/v1alpha1"),
    "no name": (MODEL.replace("name: openclip-vit-b32", "labels: {}"), "metadata.name is missing"),
    "no YAML": ("a: [", "this is not YAML"),
    "a list": ("- a\n- b\n", "found 0 objects"),
    "a wrong profile": (MODEL.replace("profile: cpu", "profile: tpu"), "spec.profile"),
    "a short digest": (MODEL.replace("0" * 64, "0" * 63), "spec.versions.0.source.sha256"),
    "a uri that nobody can fetch": (MODEL.replace("http://", "ftp://"), "spec.versions.0.source.uri"),
    "no spec": ("apiVersion: clipmodel.dev/v1alpha1\nkind: ClipModel\nmetadata: {name: x}\n", "spec.profile"),
    "a spec that is a text": (
        "apiVersion: clipmodel.dev/v1alpha1\nkind: ClipModel\nmetadata: {name: x}\nspec: much\n",
        "spec",
    ),
    "metadata that is a text": (
        "apiVersion: clipmodel.dev/v1alpha1\nkind: ClipModel\nmetadata: x\nspec: {}\n",
        "metadata.name is missing",
    ),
    "sizes above the largest batch": (
        MODEL.replace("maxBatchSize: 32", "maxBatchSize: 31"),
        "spec.batching.preferredBatchSizes: 32 exceeds maxBatchSize, 31",
    ),
    "a policy that chooses nothing": (
        f"{MODEL}  versionPolicy:\n    specific:\n      versions: [7]\n",
        "versionPolicy",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_rendered_ends_with_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    text, said = BROKEN[name]
    (tmp_path / "clip.yaml").write_text(text, "utf-8")
    assert run(monkeypatch, "render", "-f", str(tmp_path / "clip.yaml")) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("clipmodel: ")
    assert said in captured.err
    assert captured.out == ""


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "render", "-f", "/nowhere/clip.yaml") == 1
    assert "cannot read /nowhere/clip.yaml: No such file or directory. Name a YAML file" in capsys.readouterr().err


def test_a_kind_that_nobody_makes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "render", "-f", str(SAMPLE), "--only", "Ingress") == 1
    assert "choose config, PersistentVolumeClaim" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["operator"],
        ["operator", "-n", "a", "--all-namespaces"],
        ["render"],
        ["dance"],
        ["operator", "--no-such-option"],
        ["operator", "-n", "a", "--pre-stop-seconds", "0"],
        ["operator", "-n", "a", "--pre-stop-seconds", "301"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for name in ("CLIPMODEL_NAMESPACES", "CLIPMODEL_ALL_NAMESPACES"):
        monkeypatch.delenv(name, raising=False)
    assert run(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(("given", "expected"), [(None, 10), ("2", 2)])
def test_how_long_pods_serve_on_is_the_operators_to_say(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: int
) -> None:
    found: list[app_run.OperatorOptions] = []

    async def run_operator(options: app_run.OperatorOptions) -> None:
        found.append(options)

    monkeypatch.setattr(app_run, "run_operator", run_operator)
    monkeypatch.setenv("CLIPMODEL_NAMESPACES", "a b")
    if given:
        monkeypatch.setenv("CLIPMODEL_PRE_STOP_SECONDS", given)
    assert run(monkeypatch, "operator") == 0
    assert [(o.namespaces, o.render.pre_stop_s) for o in found] == [(("a", "b"), expected)]


def test_an_operator_without_a_cluster_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "operator", "-n", "a", "--kubeconfig", str(tmp_path / "none")) == 1
    assert "Set KUBECONFIG" in capsys.readouterr().err


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> str:
        raise KeyError("a bug")

    monkeypatch.setattr("clipmodel_operator.offline.read_file", broken)
    monkeypatch.setattr(sys, "argv", ["clipmodel", "render", "-f", "x"])
    with pytest.raises(KeyError, match="a bug"):
        cli.main()


def assert_ends_well(program: str, *folders: str) -> None:
    """Run a program in a process of its own that can import from these folders and has nothing set."""
    path = ":".join(str(ROOT / folder) for folder in folders)
    environment = {"PYTHONPATH": path, "PATH": "/usr/bin"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, (result.returncode, result.stderr)


@pytest.mark.parametrize("package", ["bench", "demo", "support.traffic", "clipmodel_sync", "clipmodel_export"])
def test_whoever_may_load_onnxruntime_turns_its_telemetry_off_first(package: str) -> None:
    """In a process of its own, with nothing set: this one has it from tests/conftest.py."""
    program = (
        "import builtins, os, sys\nreal = builtins.__import__\n"
        "def look(name, *more, **named):\n"
        "    if name.split('.')[0] == 'onnxruntime' and os.environ.get('ORT_DISABLE_TELEMETRY') != '1':\n"
        "        os._exit(3)\n"  # before it is loaded, whatever the test finds
        "    return real(name, *more, **named)\n"
        "builtins.__import__ = look\n"
        f"import {package}\nassert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    )
    assert_ends_well(program, "", "operator", "export", "tests")


def test_help_loads_nothing_heavy_and_telemetry_is_off() -> None:
    program = (
        "import os, sys\nfrom clipmodel_operator import cli\n"
        "heavy = {'torch', 'onnxruntime', 'kopf', 'kubernetes', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == os.environ['HF_HUB_DISABLE_TELEMETRY'] == '1'\n"
    )
    assert_ends_well(program, "operator", "export")
