"""Arguments, exit codes and messages of the two commands, run as the shell runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipmodel_operator.clients.reader import Reader
from clipmodel_operator.inspection.codes import DiffCode, StatusCode
from clipmodel_operator.inspection.completion import complete_names, complete_namespaces
from support.command_line import run

SAMPLE = str(Path(__file__).resolve().parents[3] / "manifests/samples/openclip-vit-b32.yaml")


@pytest.fixture
def dead_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "config"
    file.write_text(
        "{apiVersion: v1, kind: Config, current-context: dead, users: [{name: u, user: {}}],"
        " clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9'}}],"
        " contexts: [{name: dead, context: {cluster: c, user: u}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    return str(file)


@pytest.mark.parametrize("command", ["status", "diff"])
def test_help_lists_the_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(monkeypatch, command, "--help") == 0
    out = capsys.readouterr().out
    codes = StatusCode if command == "status" else DiffCode
    told = out[out.index("Exit codes:") :]
    assert all(str(int(code)) in told for code in codes)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "name", "-A"],
        ["status", "-A", "-n", "demo"],
        ["status", "--timeout", "5"],
        ["status", "-o", "yaml"],
        ["diff"],
        ["diff", "-f", SAMPLE, "--profile", "tpu"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    assert run(monkeypatch, *arguments) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status"], StatusCode.UNKNOWN),
        (["status", "name"], StatusCode.UNKNOWN),
        (["status", "name", "-w"], StatusCode.UNKNOWN),
        (["status", "name", "--wait", "--timeout", "60", "-o", "json"], StatusCode.UNKNOWN),
        (["diff", "-f", SAMPLE], DiffCode.FAILED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_without_a_cluster_the_code_is_none_of_an_answer(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dead_cluster: str,  # noqa: ARG001 - it is in the environment
    arguments: list[str],
    code: int,
) -> None:
    assert run(monkeypatch, *arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("clipmodel: the cluster at https://127.0.0.1:9 does not answer")
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [None, "kind: Pod", "{"], ids=["no file", "no ClipModel", "no YAML"])
def test_a_file_that_cannot_be_compared_is_2(
    monkeypatch: pytest.MonkeyPatch,
    dead_cluster: str,  # noqa: ARG001
    tmp_path: Path,
    content: str | None,
) -> None:
    file = tmp_path / "clip.yaml"
    if content is not None:
        file.write_text(content)
    assert run(monkeypatch, "diff", "-f", str(file)) == DiffCode.FAILED


@pytest.mark.parametrize(
    ("arguments", "code"), [(["status"], StatusCode.UNKNOWN), (["diff", "-f", SAMPLE], DiffCode.FAILED)]
)
def test_a_bug_of_ours_is_no_answer_either(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dead_cluster: str,  # noqa: ARG001
    arguments: list[str],
    code: int,
) -> None:
    """Python's own exit code for a traceback is 1: "not ready", or "differences"."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("ours")

    monkeypatch.setattr(Reader, "read", broken)
    assert run(monkeypatch, *arguments) == code
    assert "KeyError" in capsys.readouterr().err


class _Context:
    def __init__(self, **params: Any) -> None:
        self.params = params


CLIPS = [("demo", "tiny"), ("demo", "vit"), ("prod", "tiny")]


async def _list(_: Any, __: Any, namespace: str | None, **___: Any) -> list[Any]:
    return [{"metadata": {"namespace": n, "name": c}} for n, c in CLIPS if namespace in {None, n}]


@pytest.mark.usefixtures("dead_cluster")
class TestCompletion:
    def test_names_of_the_namespace_are_offered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Reader, "list", _list)
        context: Any = _Context(namespace="demo")
        assert complete_names(context, "") == ["tiny", "vit"]
        assert complete_names(context, "v") == ["vit"]

    def test_namespaces_with_a_clip_model_are_offered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Reader, "list", _list)
        context: Any = _Context()
        assert complete_namespaces(context, "") == ["demo", "prod"]

    def test_without_a_cluster_nothing_is_offered(self, capsys: pytest.CaptureFixture[str]) -> None:
        context: Any = _Context(namespace="demo")
        assert complete_names(context, "") == []
        assert capsys.readouterr().err == ""
