"""What Triton itself says, asked inside its pod: the config that it runs, what is loaded, and what it answers. And how to hurt it.

Through the API server's proxy to the pod, with the control key that its container has: nothing of the operator is between the test and the truth.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipmodel_contract.names import default_model_name
from support.api import ApiError
from support.cluster import Namespace, Object, condition, until

CONFIG_ID = "clipmodel.dev/config-id"
# A share of the processor that holds its own beside a busy machine's: the light image's Python backend takes a model process that got none for
# a second for dead, fails its requests, and has been seen to crash the whole server over it. No more, for there are two lanes: of two cores,
# the control plane has 0.9 already.
RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}}

#: A Triton that is killed waits for connections that clients keep, as long as its grace period allows.
SHORTEST_GRACE = "35s"


@dataclass(frozen=True, slots=True)
class Server:
    """One Triton pod."""

    namespace: Namespace
    pod: str

    def ask(self, path: str, *, method: str = "GET") -> Any:
        """Ask Triton over HTTP. Raises ApiError where it gives no 200."""
        body: Object | None = {} if method == "POST" else None
        headers = {"clipmodel-control-key": self._control_key()}
        answer = self.namespace.kubectl.ask_pod(self.pod, 8000, path, method=method, body=body, headers=headers)
        return json.loads(answer) if answer.strip() else None

    def _control_key(self) -> str:
        """Read the key where the container's environment has it from."""
        kubectl = self.namespace.kubectl
        [container] = kubectl.the("pod", self.pod)["spec"]["containers"]
        [reference] = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e]
        return base64.b64decode(kubectl.the("secret", reference["name"])["data"][reference["key"]]).decode()

    def config(self, model: str) -> Object:
        found: Object = self.ask(f"/v2/models/{model}/config")
        return found

    def config_id(self, model: str) -> str | None:
        """Give the id of the config that it runs; None while it does not answer."""
        try:
            return str(self.config(model)["parameters"][CONFIG_ID]["string_value"])
        except ApiError:
            return None

    def ready_versions(self) -> Mapping[str, Sequence[int]]:
        """List what is ready, by the names that Triton knows."""
        ready: dict[str, list[int]] = {}
        for entry in self.ask("/v2/repository/index", method="POST"):
            if entry.get("state") == "READY":
                ready.setdefault(entry["name"], []).append(int(entry["version"]))
        return ready

    def kill_container(self) -> None:
        """End Triton as itself would end: the kubelet starts the container again in the same pod."""
        self.namespace.kubectl("exec", self.pod, "-c", "triton", "--", "python3", "-c", "import os; os.kill(1, 15)")


def servers(namespace: Namespace, name: str) -> list[Server]:
    """List the pods that are not on their way out, by name."""
    pods = [p for p in namespace.server_pods(name) if "deletionTimestamp" not in p["metadata"]]
    return [Server(namespace, n) for n in sorted(p["metadata"]["name"] for p in pods)]


def wait_replaced(namespace: Namespace, name: str, victim: str, *, count: int) -> None:
    """Wait until a pod is gone, and so many others are ready and proven in its place."""
    namespace.kubectl.wait_gone("pod", victim)

    def look() -> bool:
        ready = [condition(p, "Ready") for p in namespace.server_pods(name)]
        is_ready = [bool(r and r["status"] == "True") for r in ready]
        return is_ready == [True] * count and namespace.clip(name)["status"]["readyReplicas"] == count

    until(look, f"{count} pods are proven", seen=lambda: namespace.clip(name)["status"])
    namespace.wait_ready(name)


def lives(namespace: Namespace, name: str) -> dict[str, tuple[int, str]]:
    """Give each pod's uid with its restarts and its container: equal before and after means that nothing was restarted."""
    return {
        p["metadata"]["uid"]: (c["restartCount"], c.get("containerID", ""))
        for p in namespace.server_pods(name)
        for c in p["status"].get("containerStatuses") or ()
    }


def committed_id(namespace: Namespace, name: str, profile: str = "cpu") -> str:
    """Give the id of the config that a pod would start with."""
    config_map = namespace.kubectl.the("configmap", f"{name}-config")
    if json.loads(config_map["data"]["revisions.json"])["slot"]:
        config_map = namespace.kubectl.the("configmap", f"{name}-config-b")
    text = config_map["data"][f"{profile}.pbtxt"]
    return str(text.split(CONFIG_ID, 1)[1].split("string_value:", 1)[1].split('"')[1])


def assert_settled(namespace: Namespace, name: str, versions: Sequence[int], **batching: object) -> None:
    """Fail unless the resource is Ready with exactly these versions, and every server runs, alone, what is committed."""
    clip = namespace.clip(name)
    assert clip["status"]["servingVersions"] == list(versions), clip["status"]
    assert condition(clip, "Stalled") is None, clip["status"]
    model = default_model_name(name)
    expected = committed_id(namespace, name)
    for server in servers(namespace, name):
        assert server.config_id(model) == expected, server.pod
        config = server.config(model)
        assert config["version_policy"] == {"specific": {"versions": [str(v) for v in versions]}} or config[
            "version_policy"
        ] == {"specific": {"versions": list(versions)}}, config["version_policy"]
        for field, value in batching.items():
            assert config["dynamic_batching"][field] == value, config["dynamic_batching"]
        assert server.ready_versions() == {model: list(versions)}, server.pod


def edit(namespace: Namespace, name: str, spec: Mapping[str, Any]) -> int:
    """Change fields of the spec as a user does. Gives the new generation."""
    namespace.kubectl.patch("clip", name, {"spec": spec})
    return int(namespace.clip(name)["metadata"]["generation"])


def restarted(server: Server, before: Mapping[str, tuple[int, str]]) -> None:
    """Wait until the pod's container is another one than before, and ready."""

    def look() -> bool | None:
        pod = server.namespace.kubectl.the("pod", server.pod)
        status = (pod["status"].get("containerStatuses") or [{}])[0]
        old = before[pod["metadata"]["uid"]]
        return (
            status.get("containerID") != old[1] and status.get("ready") and "running" in status.get("state", {})
        ) or None

    until(look, f"{server.pod} runs again", seen=lambda: lives(server.namespace, server.pod))
