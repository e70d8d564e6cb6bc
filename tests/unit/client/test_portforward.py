"""The port-forward: found, bounded in time, and ended; kubectl is played by a shell script."""

import os
from pathlib import Path

import pytest

from clipmodel_client.clipmodel import Served, get_served, parse_served
from clipmodel_client.errors import (
    ClientError,
    MissingProgramError,
    NotFoundError,
    RejectedError,
    RequestTimeoutError,
    UnreachableError,
)
from clipmodel_client.kubectl import Cluster
from clipmodel_client.portforward import port_forward

CLUSTER = Cluster(namespace="clipmodel-demo", context="kind-clipmodel", kubeconfig=Path("/k/config"))


def kubectl(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> Path:
    """Put a kubectl into PATH that notes its arguments and process id, and does what the script says."""
    program = folder / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\necho $$ > {folder}/pid\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def is_running(folder: Path) -> bool:
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


FORWARDING = 'echo "Forwarding from 127.0.0.1:40123 -> 8001"; exec tail -f /dev/null'


def test_the_local_port_is_read_and_the_child_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = kubectl(monkeypatch, tmp_path, FORWARDING)
    with port_forward(CLUSTER, service="clip", port=8001) as address:
        assert address == "127.0.0.1:40123"
        assert is_running(folder)
    assert not is_running(folder)
    assert (folder / "arguments").read_text().split() == [
        *("--kubeconfig", "/k/config", "--context", "kind-clipmodel", "--namespace", "clipmodel-demo"),
        *("port-forward", "service/clip", ":8001", "--address", "127.0.0.1"),
    ]


def test_the_child_is_ended_when_the_user_of_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = kubectl(monkeypatch, tmp_path, FORWARDING)
    with pytest.raises(ZeroDivisionError), port_forward(CLUSTER, service="clip", port=8001):
        1 / 0  # noqa: B018
    assert not is_running(folder)


def test_a_timeout_of_the_user_of_it_stays_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kubectl(monkeypatch, tmp_path, FORWARDING)
    with pytest.raises(TimeoutError, match="mine"), port_forward(CLUSTER, service="clip", port=8001):
        raise TimeoutError("mine")


def test_a_child_that_never_listens_is_ended_at_the_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = kubectl(monkeypatch, tmp_path, "exec tail -f /dev/null")
    with (
        pytest.raises(RequestTimeoutError, match=r"service/clip has not listened within 0\.5 s"),
        port_forward(CLUSTER, service="clip", port=8001, deadline_s=0.5),
    ):
        pytest.fail("there is nothing to talk to")
    assert not is_running(folder)


def test_much_output_does_not_stop_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # 200 KB are more than a pipe holds, so that "done" is said only where somebody reads.
    script = f"""mkfifo {tmp_path}/done
echo "Forwarding from 127.0.0.1:40123 -> 8001"
yes "Handling connection for 40123" | head -c 200000
echo done > {tmp_path}/done
exec tail -f /dev/null"""
    kubectl(monkeypatch, tmp_path, script)
    with port_forward(CLUSTER, service="clip", port=8001):
        assert (tmp_path / "done").read_text() == "done\n"  # a named pipe: the read waits for the write


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('Error from server (NotFound): services "clip" not found', NotFoundError),
        ('error: context "kind-x" does not exist', NotFoundError),
        ('error: the server doesn\'t have a resource type "clipmodels"', NotFoundError),
        ('Error from server (Forbidden): pods is forbidden: User "me" cannot create', RejectedError),
        (
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host?",
            UnreachableError,
        ),
        ("error: unable to forward port because pod is not running. Current status=Pending", RejectedError),
        ("", RejectedError),
    ],
)
def test_kubectls_complaints_are_translated(
    words: str, kind: type[ClientError], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "words").write_text(words)
    kubectl(monkeypatch, tmp_path, f"cat {tmp_path}/words >&2; exit 1")
    with pytest.raises(kind) as caught, port_forward(CLUSTER, service="clip", port=8001):
        pytest.fail("there is nothing to talk to")
    assert caught.value.advice
    with pytest.raises(kind):
        get_served(CLUSTER, "clip")


def test_no_kubectl_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(MissingProgramError, match="kubectl was not found"),
        port_forward(CLUSTER, service="c", port=1),
    ):
        pytest.fail("there is nothing to talk to")
    with pytest.raises(MissingProgramError):
        get_served(CLUSTER, "c")


def test_the_model_name_is_the_specs_or_made_of_the_resources() -> None:
    metadata = {"name": "openclip-vit-b32"}
    assert parse_served({"metadata": metadata, "spec": {}}).model == "openclip_vit_b32"
    assert parse_served({"metadata": metadata, "spec": {"modelName": "other"}}).model == "other"


def test_batches_are_what_the_resource_allows() -> None:
    resource = {"metadata": {"name": "a"}, "spec": {"batching": {"maxBatchSize": 8}}}
    assert parse_served(resource).max_batch == 8


@pytest.mark.parametrize(
    ("status", "not_ready"),
    [
        ({"conditions": [{"type": "Ready", "status": "True", "message": "serves"}]}, None),
        ({"conditions": [{"type": "Ready", "status": "Unknown", "message": "loading"}]}, "loading"),
        ({}, "the operator has not reported on it yet; does it run?"),
    ],
)
def test_readiness_is_read_from_the_condition(status: dict[str, object], not_ready: str | None) -> None:
    resource = {"metadata": {"name": "a"}, "spec": {}, "status": status}
    assert parse_served(resource) == Served(model="a", max_batch=32, not_ready=not_ready)
