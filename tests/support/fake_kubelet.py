"""The only node: its scheduler, and the kubelet with what it runs: the sync Job's pod, which fills a volume from what is uploaded, and Triton's pod, whose startup probe asks for golden embeddings.

A volume is a dict: which version is which bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # it has no types
from tritonclient.grpc import model_config_pb2

from clipmodel_contract import golden
from clipmodel_contract.exit_codes import ExitCode
from support.builders import build_failure, build_report
from support.fake_api_server import FakeApiServer
from support.fake_triton import FakeTriton, TritonServer, Upload
from support.server_side_apply import Object

Step = tuple[str, Callable[[], None]]
"""What could happen next, in words, and how to make it happen."""


def is_ready(pod: Object) -> bool:
    return any(c == {"type": "Ready", "status": "True"} for c in (pod.get("status") or {}).get("conditions") or ())


@dataclass(slots=True)
class FakeKubelet:
    """The only node's scheduler and kubelet."""

    cluster: FakeApiServer
    triton: FakeTriton
    uploads: dict[str, Upload] = field(default_factory=dict)
    """By URI: what a sync finds there."""
    volumes: dict[str, dict[int, Upload]] = field(default_factory=dict)
    """By claim: which version is which bytes."""
    loses_reports: bool = False
    """Pods of Jobs are gone before anybody reads what they said."""
    room: int | None = None
    """How many pods of Triton the node takes; None for any number."""

    # Pods of sync Jobs.

    def run_sync(self, pod: Object) -> int:
        """Run a sync Job's pod to its end, and give its exit code."""
        container, (volume, *_) = pod["spec"]["containers"][0], pod["spec"]["volumes"]
        claim = volume["persistentVolumeClaim"]["claimName"]
        live = self.cluster.find("PersistentVolumeClaim", claim)
        assert live is not None
        self.cluster.edit(live, lambda o: o.update(status={"phase": "Bound"}))
        arguments = dict(a.removeprefix("--").split("=", 1) for a in container["args"])
        report, code = self._sync(arguments, self.volumes.setdefault(claim, {}))
        ended = {"name": "sync", "state": {"terminated": {"exitCode": code, "message": report}}}
        self._set_status(pod, phase="Failed" if code else "Succeeded", containerStatuses=[ended])
        if self.loses_reports:
            self.cluster.remove(pod)
        return code

    def _sync(self, arguments: Mapping[str, str], volume: dict[int, Upload]) -> tuple[str, int]:
        """Fetch, prove and report, as docs/spec/sync.md says; give the report and the exit code."""
        version, sha256 = int(arguments["version"]), arguments["sha256"]
        on_volume, upload = volume.get(version), self.uploads.get(arguments["uri"])
        if on_volume is not None and on_volume.sha256 != sha256:
            return build_failure("VersionImmutable", version=version), ExitCode.MUST_ACT
        if on_volume is None:
            if upload is None:
                return build_failure("SourceNotFound", version=version), ExitCode.MUST_ACT
            if upload.failure is not None:
                result, reason = upload.failure
                code = ExitCode.MUST_ACT if result == "Failed" else ExitCode.TRY_AGAIN
                return build_failure(reason, result=result, version=version), code
            if upload.sha256 != sha256:
                return build_failure("DigestMismatch", version=version), ExitCode.MUST_ACT
            on_volume = volume[version] = upload
        return build_report(version, sha256=on_volume.sha256, vectors=on_volume.vectors), 0

    # Pods of Triton.

    def steps(self, pod: Object) -> list[Step]:
        """List what a pod of Triton could do next."""
        volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
        config = self.cluster.find("ConfigMap", volumes["config"]["configMap"]["name"])
        if config is None:
            return []
        if pod["status"]["phase"] == "Pending":
            if self.room is not None and len(self.triton.servers) >= self.room:
                return self._steps_to_refuse(pod)
            return self._steps_to_start(pod, config, volumes["models"]["persistentVolumeClaim"]["claimName"])
        if is_ready(pod) or not self._passes_probe(pod, config):
            return []
        ready = {"type": "Ready", "status": "True"}
        return [(f"{pod['metadata']['name']}: is ready", lambda: self._set_status(pod, conditions=[ready]))]

    def _steps_to_refuse(self, pod: Object) -> list[Step]:
        if pod["status"].get("conditions"):
            return []
        refused = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "lastTransitionTime": self.cluster.clock.stamp(),
        }
        return [(f"{pod['metadata']['name']}: has no node", lambda: self._set_status(pod, conditions=[refused]))]

    def _steps_to_start(self, pod: Object, config: Object, claim: str) -> list[Step]:
        name = pod["metadata"]["name"]
        secret_name = pod["spec"]["containers"][0]["env"][-1]["valueFrom"]["secretKeyRef"]["name"]
        secret = self.cluster.find("Secret", secret_name)
        if secret is not None:
            if self.cluster.find("PersistentVolumeClaim", claim) is None:
                return []
            return [(f"{name}: starts", lambda: self._start(pod, config, claim, secret))]
        reason = {"reason": "CreateContainerConfigError", "message": f'secret "{secret_name}" not found'}
        waits = {"name": "triton", "state": {"waiting": reason}}
        if pod["status"].get("containerStatuses") == [waits]:
            return []
        return [(f"{name}: waits for its Secret", lambda: self._set_status(pod, containerStatuses=[waits]))]

    def _start(self, pod: Object, config: Object, claim: str, secret: Object) -> None:
        """Start Triton: it loads what the ConfigMap says now, or exits."""
        number = self.cluster.next_number()
        address = f"10.1.{number // 256}.{number % 256}"
        arguments = dict(a.split("=", 1) for a in pod["spec"]["containers"][0]["args"] if "=" in a)
        model, profile = arguments["--load-model"], arguments["--model-config-name"]
        parsed = text_format.Parse(config["data"][f"{profile}.pbtxt"], model_config_pb2.ModelConfig())
        server = TritonServer(pod["metadata"]["name"], secret["stringData"]["key"], self.volumes.get(claim, {}))
        server.load(model, json_format.MessageToDict(parsed, preserving_proto_field_name=True))
        server.proven |= set(server.versions(model))
        self.triton.servers[address] = server
        self.cluster.edit(pod, lambda o: o["spec"].update(nodeName="node"))
        pod = self.cluster.objects["Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]]
        running = {"name": "triton", "containerID": f"containerd://{number}", "state": {"running": {}}}
        self._set_status(
            pod,
            phase="Running",
            podIP=address,
            containerStatuses=[running],
            conditions=[{"type": "Ready", "status": "False"}],
        )

    def _passes_probe(self, pod: Object, config: Object) -> bool:
        """Run the startup probe: every version in the mounted file is asked for its golden embeddings."""
        server, known = self.triton.servers[pod["status"]["podIP"]], json.loads(config["data"]["versions.json"])
        if not self.triton.answers or not known["versions"]:
            return False
        for version, record in known["versions"].items():
            if int(version) not in server.versions(known["model"]):
                return False
            for index, vector in enumerate(record["golden"]["vectors"]):
                if golden.difference(
                    self.triton.vector(server.volume[int(version)], index), golden.decode_vector(vector)
                ):
                    return False
        return True

    def stop(self, pod: Object) -> None:
        self.triton.servers.pop((pod.get("status") or {}).get("podIP", ""), None)
        self.cluster.remove(pod)

    def restart(self, pod: Object) -> None:
        """Restart a pod's container: its Triton starts anew, in the same pod."""
        self.triton.servers.pop(pod["status"]["podIP"], None)
        self._set_status(
            self.cluster.objects["Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]],
            phase="Pending",
            conditions=[],
            containerStatuses=[],
        )

    def _set_status(self, pod: Object, **fields: Any) -> None:
        self.cluster.edit(pod, lambda o: o["status"].update(fields))
