"""`clipmodel status` and `clipmodel diff` against a real cluster, as a person on call runs them: a process, its output, its exit code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cluster import DEADLINE_S, Kubectl, Namespace, Object, clip_model, until
from support.model_server import NAMESPACE as FIXTURES
from support.model_server import _server
from support.tiny_onnx import build_tiny_onnx

READY, NOT_READY, UNKNOWN = 0, 1, 4
SAME, DIFFERENT, FAILED = 0, 1, 2

# 6 MB at 1 MB a second: long enough to be looked at. It is no ONNX file, which its Job finds out in the end.
_SLOW_BYTES = 6_000_000
_SLOW = f"""
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "{_SLOW_BYTES}")
        self.end_headers()
        for _ in range({_SLOW_BYTES} // 250_000):
            self.wfile.write(b"x" * 250_000)
            time.sleep(0.25)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


class Shell:
    """Runs `clipmodel` with a kubeconfig."""

    def __init__(self, kubeconfig: str, namespace: Namespace) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace.name
        self.operator = namespace.operator_namespace

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "clipmodel_operator", *arguments]

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": self.kubeconfig}

    def __call__(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            self.command(*arguments),
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def status(self, *arguments: str) -> tuple[int, str, str]:
        return self("status", "-n", self.namespace, *arguments)

    def diff(self, obj: Any, *arguments: str) -> tuple[int, str]:
        code, out, err = self(
            *("diff", "-n", self.namespace, "--operator-namespace", self.operator, "-f", "-", *arguments),
            stdin=yaml.safe_dump(obj),
        )
        return code, out + err


@pytest.fixture(scope="module")
def served(shared_namespace: Namespace, tiny: tuple[str, str]) -> Namespace:
    uri, sha256 = tiny
    shared_namespace.kubectl.apply(clip_model("tiny", uri=uri, sha256=sha256))
    return shared_namespace


@pytest.fixture(scope="module")
def shell(served: Namespace) -> Shell:
    return Shell(served.kubectl.kubeconfig, served)


@pytest.fixture(scope="module")
def ready(served: Namespace, shell: Shell) -> Namespace:
    """Wait with the command itself."""
    code, out, err = shell.status("tiny", "--wait", "--timeout", "120")
    assert code == READY, out + err
    lines = [line.split("  ", 2)[2] for line in out.splitlines()]
    assert lines[-1].startswith(("Ready, Serving", "revision ", "version 1 Serving", "pod tiny-")), out
    assert not [line for line, following in pairwise(lines) if line == following], "a line for each change, and no more"
    served.wait_ready("tiny")
    return served


def spec(ready: Namespace, **changes: Any) -> Object:
    """Give the ClipModel as its file has it, with changes."""
    live = ready.clip("tiny")
    return {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {"name": "tiny"},
        "spec": {**live["spec"], **changes},
    }


def test_status_shows_it_in_full(ready: Namespace, shell: Shell) -> None:
    code, out, err = shell.status("tiny")
    assert (code, err) == (READY, "")
    pod = ready.server_pods("tiny")[0]
    row = next(line for line in out.splitlines() if pod["metadata"]["name"] in line).split()
    assert row[1:4] == ["yes", "Running", "1"], "what its Triton has loaded"
    assert int(row[4]) >= 2, "the golden check was answered"
    assert row[7] == pod["spec"]["nodeName"]
    for words in (
        "● Ready  tiny",
        "policy: latest 1",
        "GoldenCheckPassed",
        f"http tiny.{ready.name}.svc:8000",
        "VersionSynced",
    ):
        assert words in out, words


def test_status_as_json_is_the_same(ready: Namespace, shell: Shell) -> None:
    code, out, _ = shell.status("tiny", "-o", "json")
    told = json.loads(out)
    assert (code, told["outcome"], told["servingVersions"]) == (READY, "Ready", [1])
    assert [entry["version"] for entry in told["pods"][0]["loaded"]] == [1]
    assert told["versions"][0]["sha256"] == ready.clip("tiny")["spec"]["versions"][0]["source"]["sha256"]


def test_status_lists_a_namespace_and_all_of_them(ready: Namespace, shell: Shell) -> None:
    code, out, _ = shell.status()
    assert code == READY
    assert out.splitlines()[1].split()[:4] == ["tiny", "●", "Ready", "cpu"]
    _, out, _ = shell("status", "-A")
    assert [line for line in out.splitlines() if line.split()[:2] == [ready.name, "tiny"]]


@pytest.mark.usefixtures("ready")
class TestWhatCannotBeAnswered:
    def test_an_unknown_name_names_those_that_there_are(self, shell: Shell) -> None:
        code, out, err = shell.status("tini")
        assert (code, out) == (UNKNOWN, "")
        assert f"no ClipModel tini in namespace {shell.namespace}; there are: tiny" in err

    def test_the_wrong_namespace_names_the_right_one(self, shell: Shell) -> None:
        code, _, err = shell("status", "-n", "default", "tiny")
        assert code == UNKNOWN
        assert shell.namespace in err

    def test_no_right_says_which(self, ready: Namespace, tmp_path: Path) -> None:
        nobody = user(ready, tmp_path, "nobody", role=None)
        code, _, err = nobody.status("tiny")
        assert code == UNKNOWN
        assert 'cannot get resource "clipmodels"' in err
        assert "role `view`" in err
        assert nobody.diff(spec(ready))[0] == FAILED

    def test_who_may_view_sees_all_but_what_pods_have_loaded(self, ready: Namespace, tmp_path: Path) -> None:
        viewer = user(ready, tmp_path, "viewer", role="view")
        code, out, err = viewer.status("tiny")
        assert (code, err) == (READY, "")
        assert "! what each pod has loaded cannot be shown" in out
        assert "Serving" in out
        # The operator's own Deployment is not theirs to read: the images are those that run.
        code, out = viewer.diff(spec(ready))
        assert code == SAME, out

    def test_who_may_edit_asks_the_pods(self, ready: Namespace, tmp_path: Path) -> None:
        _, out, _ = user(ready, tmp_path, "editor", role="edit").status("tiny", "-o", "json")
        assert json.loads(out)["pods"][0]["loaded"][0]["version"] == 1


def user(namespace: Namespace, folder: Path, name: str, *, role: str | None) -> Shell:
    """Make a service account, give it a role in the namespace, and a kubeconfig with its token."""
    kubectl = namespace.kubectl
    kubectl.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    if role:
        kubectl.apply({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace.name}],
        })  # fmt: skip
    config = yaml.safe_load(Path(kubectl.kubeconfig).read_text())
    config["users"] = [{"name": name, "user": {"token": kubectl("create", "token", name).strip()}}]
    config["contexts"][0]["context"]["user"] = name
    file = folder / name
    file.write_text(yaml.safe_dump(config))
    return Shell(str(file), namespace)


class TestDiff:
    def test_at_rest_there_is_none(self, ready: Namespace, shell: Shell) -> None:
        code, out = shell.diff(spec(ready))
        assert code == SAME, out

    def test_of_the_object_as_the_cluster_has_it_as_well(self, ready: Namespace, shell: Shell) -> None:
        code, out = shell.diff(ready.clip("tiny"))
        assert code == SAME, out

    @pytest.mark.parametrize(
        ("change", "restarts"),
        [
            ({"batching": {"maxQueueDelay": "20ms"}}, False),
            ({"serving": {"nodeSelector": {"kubernetes.io/os": "linux"}}}, True),
            ({"serving": {}}, True),  # the resources go
        ],
        ids=["batching", "node selector", "no resources"],
    )
    def test_what_it_says_is_what_happens(
        self,
        ready: Namespace,
        shell: Shell,
        change: Object,
        restarts: bool,  # noqa: FBT001 - a table
    ) -> None:
        before = {p["metadata"]["uid"] for p in ready.server_pods("tiny")}
        changed = spec(ready, **change)
        code, out = shell.diff(changed)
        assert code == DIFFERENT
        assert (" restart " in out) is restarts, out
        ready.kubectl("replace", "-f", "-", stdin=json.dumps({**changed, "metadata": ready.clip("tiny")["metadata"]}))
        ready.wait_ready("tiny")
        code, out = until(
            lambda: found if (found := shell.diff(changed))[0] == SAME else None,
            "what differed differs no more",
            seen=lambda: shell.diff(changed)[1],
        )
        after = {p["metadata"]["uid"] for p in ready.server_pods("tiny") if "deletionTimestamp" not in p["metadata"]}
        assert (before == after) is not restarts

    def test_drift_is_found_while_the_operator_is_down(self, ready: Namespace, shell: Shell, operator: Any) -> None:
        with operator.down():
            ready.kubectl.patch("service", "tiny", {"spec": {"selector": {"app.kubernetes.io/component": "nobody"}}})
            code, out = shell.diff(spec(ready))
            assert code == DIFFERENT
            assert "-    app.kubernetes.io/component: nobody" in out
        until(lambda: shell.diff(spec(ready))[0] == SAME or None, "it is repaired")

    def test_one_that_is_not_there_is_all_new(self, ready: Namespace, shell: Shell, tiny: tuple[str, str]) -> None:
        uri, sha256 = tiny
        code, out = shell.diff(clip_model("newcomer", uri=uri, sha256=sha256))
        assert code == DIFFERENT
        assert "is not in the cluster" in out
        assert "+++ rendered Deployment/newcomer" in out
        assert ready.children("newcomer") == [], "nothing is written"


@pytest.fixture(scope="module")
def slow_uri(kubectl: Kubectl, model_server: Any) -> Iterator[str]:  # noqa: ARG001 - it makes the namespace
    fixtures = kubectl.within(FIXTURES)
    image = os.environ["CLIPMODEL_SYNC_IMAGE"]
    for obj in _server("slow", {"name": "python", "image": image, "command": ["python3", "-c", _SLOW]}):
        fixtures.apply(obj)
    fixtures.wait_rolled_out("slow")
    yield f"http://slow.{FIXTURES}.svc:8080/model.onnx"
    fixtures.delete("deployment", "slow")
    fixtures.delete("service", "slow")


def test_a_sync_is_followed_to_its_end(namespace: Namespace, slow_uri: str) -> None:
    """Percent and rate come from the Job's log; the end is the version's failure, with its exit code."""
    shell = Shell(namespace.kubectl.kubeconfig, namespace)
    sha256 = hashlib.sha256(b"x" * _SLOW_BYTES).hexdigest()
    namespace.kubectl.apply(clip_model("slow", uri=slow_uri, sha256=sha256))
    code, out, err = shell.status("slow", "--wait", "--timeout", "110", "-o", "json")
    assert code == NOT_READY, out + err
    told = [json.loads(line) for line in out.splitlines()]
    assert told[0]["outcome"] == "Progressing"
    fetching = [p for t in told if (p := t["versions"][0]["progress"]) and p["percent"]]
    assert any(0 < p["percent"] < 100 and p["total"] == "6.0 MB" and p["rate"].endswith("B") for p in fetching), out
    assert told[-1]["reason"] == "NotOnnx"


def test_a_version_is_shown_while_it_takes_over(namespace: Namespace, model_server: Any, tmp_path: Path) -> None:
    shell = Shell(namespace.kubectl.kubeconfig, namespace)
    one, two = (model_server.put(build_tiny_onnx(seed=s)) for s in (1, 2))
    obj = clip_model("tiny", uri=one[0], sha256=one[1])
    namespace.kubectl.apply(obj)
    assert shell.status("tiny", "--wait", "--timeout", "120")[0] == READY
    told = tmp_path / "told"
    with told.open("w") as file:
        following = subprocess.Popen(
            shell.command("status", "-n", namespace.name, "tiny", "-w"), env=shell.env, stdout=file
        )
    try:
        second = {"version": 2, "newEmbeddingSpace": True, "source": {"uri": two[0], "sha256": two[1]}}
        code, out = shell.diff({**obj, "spec": {**obj["spec"], "versions": [*obj["spec"]["versions"], second]}})
        assert code == DIFFERENT
        assert "version 2 is fetched and proven first" in out
        namespace.kubectl.patch(
            "clip", "tiny", [{"op": "add", "path": "/spec/versions/-", "value": second}], how="json"
        )
        until(
            lambda: (
                [v["version"] for v in json.loads(shell.status("tiny", "-o", "json")[1])["pods"][0]["loaded"] or ()]
                == [2]
                or None
            ),
            "version 2 is what the pod has loaded",
            seen=lambda: shell.status("tiny")[1],
        )
        assert shell.status("tiny", "--wait", "--timeout", "60")[0] == READY
        # It looks once a second: what it says last comes after what the others saw.
        last = ("version 2 Serving", "version 1 Retired")
        until(lambda: all(t in told.read_text() for t in last) or None, f"it tells {last}", seen=told.read_text)
    finally:
        following.send_signal(2)
        following.wait(timeout=30)
    assert following.returncode == READY, told.read_text()
