"""The only node: its scheduler, and the kubelet with what it runs: the sync Job's pod, which fills a volume from what is uploaded, and Triton's pod, whose startup probe asks for golden embeddings.

A volume is a dict: which version is which bytes. The two volumes of a pod that are made of ConfigMaps are what they were when they were mounted
or refreshed last, each by a step of its own; a container that starts again reads what is mounted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # it has no types
from tritonclient.grpc import model_config_pb2

from clipmodel_contract import golden
from clipmodel_contract.exit_codes import ExitCode
from clipmodel_operator.models.errors import RejectedError, RetryError
from support.builders import build_failure, build_report
from support.fake_api_server import FakeApiServer
from support.fake_triton import At, FakeTriton, TritonServer, Upload, own_id
from support.server_side_apply import Object

Step = tuple[str, Callable[[], None]]
"""What could happen next, in words, and how to make it happen."""

#: The first restart comes at once; then kubelet waits, twice as long each time.
_BACK_OFF_S = 10.0
_LONGEST_BACK_OFF_S = 300.0
_MOUNTS = ("config", "proof")


def is_ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"] or (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}


def is_ready(pod: Object) -> bool:
    """Tell whether clients reach the pod."""
    return not is_ending(pod) and any(
        c == {"type": "Ready", "status": "True"} for c in (pod.get("status") or {}).get("conditions") or ()
    )


@dataclass(slots=True)
class _Sandbox:
    """What the kubelet keeps of a pod beyond what it tells."""

    address: str
    mounted: dict[str, dict[str, str]]
    """By volume: the files."""
    server: TritonServer | None = None
    started_at: float = 0.0
    ends: int = 0
    """How often the container ended."""
    untold: Object | None = None
    """How it ended, before the API server has heard."""
    restart_at: float | None = None


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
    limit: int | None = None
    """How many copies a server's memory holds where its pod sets no limit of memory; a limit of 4Gi holds four."""
    is_slow: bool = False
    """It hears of ConfigMaps late: new pods mount what it has heard of last."""
    ends_slowly: bool = False
    """A pod that ends serves on for a while."""
    startup_deadline_s: float | None = None
    """After which a container that has not passed its startup probe is started again; None for never."""
    stale: set[str] = field(default_factory=set)
    """Which of a pod's volumes are not refreshed for now, by name."""
    heard: dict[str, dict[str, str]] = field(default_factory=dict)
    """By name: the data of ConfigMaps, as far as it has heard."""
    _sandboxes: dict[str, _Sandbox] = field(default_factory=dict)
    """By uid."""

    def __post_init__(self) -> None:
        self.triton.ended = self._on_end
        self.triton.is_pod_ready = self.is_pod_ready

    def is_pod_ready(self, name: str) -> bool:
        return any(is_ready(p) for p in self.cluster.all("Pod") if p["metadata"]["name"] == name)

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

    # ConfigMaps, as the node hears of them.

    def own_steps(self) -> list[Step]:
        """List what the node could hear of."""
        if not self.is_slow:
            return []
        return [
            (f"kubelet hears of ConfigMap {o['metadata']['name']}", partial(self._hear, o))
            for o in self.cluster.all("ConfigMap")
            if self.heard.get(o["metadata"]["name"], o["data"]) != o["data"]
        ]

    def _hear(self, config_map: Object) -> None:
        self.heard[config_map["metadata"]["name"]] = dict(config_map["data"])

    def _config_map(self, name: str) -> dict[str, str] | None:
        """Give a ConfigMap's data as the node knows it; it asks for one that it has never heard of."""
        live = self.cluster.find("ConfigMap", name)
        if live is None:
            return self.heard.get(name) if self.is_slow else None
        if not self.is_slow:
            return dict(live["data"])
        if not self._is_mounted(name):
            self.heard.pop(name, None)  # it watches what its pods mount, and nothing else
        return self.heard.setdefault(name, dict(live["data"]))

    def _is_mounted(self, name: str) -> bool:
        pods = (p for p in self.cluster.all("Pod") if p["metadata"]["uid"] in self._sandboxes)
        return any((v.get("configMap") or {}).get("name") == name for p in pods for v in p["spec"]["volumes"])

    def _files(self, volume: Object) -> dict[str, str] | None:
        """Give what a volume would hold; None where it cannot be mounted."""
        data = self._config_map(volume["configMap"]["name"])
        keys = [i["key"] for i in volume["configMap"]["items"]]
        return {k: data[k] for k in keys} if data is not None and all(k in data for k in keys) else None

    def _mountable(self, pod: Object) -> dict[str, dict[str, str]] | None:
        files = {v["name"]: self._files(v) for v in pod["spec"]["volumes"] if v["name"] in _MOUNTS}
        return {k: v for k, v in files.items() if v is not None} if None not in files.values() else None

    # Pods of Triton.

    def steps(self, pod: Object) -> list[Step]:
        """List what a pod of Triton could do next."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        if pod["status"]["phase"] in {"Failed", "Succeeded"}:
            return []
        if "deletionTimestamp" in pod["metadata"]:
            return [(f"{name}: is gone", lambda: self._remove(pod))]
        if pod["status"]["phase"] == "Pending":
            if self.room is not None and uid not in self._sandboxes and self._nodes_pods() >= self.room:
                return self._steps_to_refuse(pod)
            return self._steps_to_start(pod)
        sandbox = self._sandboxes[uid]
        return [*self._steps_to_run(pod, sandbox), *self._steps_to_refresh(pod, sandbox)]

    def _nodes_pods(self) -> int:
        there = {p["metadata"]["uid"] for p in self.cluster.all("Pod")}
        return sum(uid in there for uid in self._sandboxes)

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

    def _steps_to_start(self, pod: Object) -> list[Step]:
        name, secret_name = pod["metadata"]["name"], _secret(pod)
        known = self._sandboxes.get(pod["metadata"]["uid"])
        mounted = known.mounted if known is not None else self._mountable(pod)
        if mounted is None:
            return []
        if self.cluster.find("Secret", secret_name) is not None:
            if self.cluster.find("PersistentVolumeClaim", _claim(pod)) is None:
                return []
            return [(f"{name}: starts", lambda: self._start(pod, mounted))]
        reason = {"reason": "CreateContainerConfigError", "message": f'secret "{secret_name}" not found'}
        waits = {"name": "triton", "state": {"waiting": reason}}
        if pod["status"].get("containerStatuses") == [waits]:
            return []
        return [(f"{name}: waits for its Secret", lambda: self._set_status(pod, containerStatuses=[waits]))]

    def _start(self, pod: Object, mounted: dict[str, dict[str, str]]) -> None:
        """Start a pod: what it mounts is what its node has heard of last."""
        uid, number = pod["metadata"]["uid"], self.cluster.next_number()
        sandbox = self._sandboxes.setdefault(uid, _Sandbox(f"10.1.{number // 256}.{number % 256}", mounted))
        self.cluster.edit(pod, lambda o: o["spec"].update(nodeName="node"))
        self._set_status(
            self._live(pod), phase="Running", podIP=sandbox.address, conditions=[{"type": "Ready", "status": "False"}]
        )
        self._run(self._live(pod), sandbox)

    def _run(self, pod: Object, sandbox: _Sandbox) -> None:
        """Run the container: Triton loads what is mounted, or exits."""
        number = self.cluster.next_number()
        secret = self.cluster.get("Secret", _secret(pod))
        server = sandbox.server = TritonServer(
            pod["metadata"]["name"],
            secret["stringData"]["key"],
            self.volumes.get(_claim(pod), {}),
            run=f"containerd://{number}",
            address=sandbox.address,
            limit=self._limit(pod),
        )
        sandbox.started_at, sandbox.restart_at = self.cluster.clock.seconds, None
        last = (pod["status"].get("containerStatuses") or [{}])[0]
        ended = last.get("state", {}).get("terminated") or last.get("lastState", {}).get("terminated")
        running = {
            "name": "triton",
            "containerID": server.run,
            "restartCount": sandbox.ends,
            "started": False,
            "state": {"running": {"startedAt": self.cluster.clock.stamp()}},
            **({"lastState": {"terminated": ended}} if ended else {}),
        }
        self._set_status(pod, containerStatuses=[running])
        self.triton.servers[sandbox.address] = server
        try:
            model, config = self._config_at_start(pod, sandbox.mounted)
            self.triton.meet(server, model, config, At.START, content=own_id(config) or "")
        except (RejectedError, RetryError, text_format.ParseError) as error:
            if not server.is_dead:
                self.triton.die(server, "Error")
            if sandbox.untold is not None:
                sandbox.untold["message"] = f"error: creating server: Internal - {error}"
            return
        server.proven |= set(server.versions(model))

    @staticmethod
    def _config_at_start(pod: Object, mounted: Mapping[str, Mapping[str, str]]) -> tuple[str, dict[str, Any]]:
        arguments = dict(a.split("=", 1) for a in pod["spec"]["containers"][0]["args"] if "=" in a)
        model, profile = arguments["--load-model"], arguments["--model-config-name"]
        parsed = text_format.Parse(mounted["config"][f"{profile}.pbtxt"], model_config_pb2.ModelConfig())
        return model, json_format.MessageToDict(parsed, preserving_proto_field_name=True)

    def take_over(self, pod: Object, server: TritonServer) -> None:
        """Know a pod that was started before this world began: what it mounts was refreshed since."""
        mounted = self._mountable(pod)
        assert mounted is not None
        sandbox = _Sandbox(server.address, mounted, server, started_at=self.cluster.clock.seconds)
        self._sandboxes[pod["metadata"]["uid"]] = sandbox
        self.triton.servers[server.address] = server

    def _limit(self, pod: Object) -> int | None:
        """Give how many copies a server's memory holds."""
        limits = (pod["spec"]["containers"][0].get("resources") or {}).get("limits") or {}
        memory = str(limits.get("memory", ""))
        return int(memory.removesuffix("Gi")) if memory.endswith("Gi") else self.limit

    def _on_end(self, server: TritonServer, reason: str) -> None:
        """Take note that a container ended; the API server hears of it later."""
        for sandbox in self._sandboxes.values():
            if sandbox.server is server:
                code = 137 if reason == "OOMKilled" else 1
                sandbox.ends += 1
                sandbox.untold = {"reason": reason, "exitCode": code, "message": ""}

    def _steps_to_run(self, pod: Object, sandbox: _Sandbox) -> list[Step]:
        name, server = pod["metadata"]["name"], sandbox.server
        assert server is not None
        if sandbox.untold is not None:
            return [(f"{name}: its container's end is told", lambda: self._tell_end(pod, sandbox))]
        if server.is_dead:
            due = sandbox.restart_at is not None and sandbox.restart_at <= self.cluster.clock.seconds
            due = due and self.cluster.find("Secret", _secret(pod)) is not None
            return [(f"{name}: its container starts again", lambda: self._run(pod, sandbox))] if due else []
        steps: list[Step] = []
        if not server.is_started:
            if self.passes_probe(server, sandbox.mounted):
                steps.append((f"{name}: is ready", lambda: self._pass_probe(pod, sandbox)))
            elif self._is_overdue(sandbox):
                steps.append((f"{name}: took too long to start", lambda: self.triton.die(server, "Error")))
        elif is_ready(pod) != bool(server.versions(_model(pod))):
            now = "False" if is_ready(pod) else "True"
            ready = {"type": "Ready", "status": now}
            steps.append((f"{name}: ready is {now}", lambda: self._set_status(pod, conditions=[ready])))
        return steps

    def _is_overdue(self, sandbox: _Sandbox) -> bool:
        deadline = self.startup_deadline_s
        return deadline is not None and sandbox.started_at + deadline <= self.cluster.clock.seconds

    def _tell_end(self, pod: Object, sandbox: _Sandbox) -> None:
        """Tell how the container ended, and when it starts again."""
        ended, sandbox.untold = sandbox.untold, None
        wait_s = 0.0 if sandbox.ends < 2 else min(_BACK_OFF_S * 2.0 ** (sandbox.ends - 2), _LONGEST_BACK_OFF_S)
        sandbox.restart_at = self.cluster.clock.seconds + wait_s
        container = {**pod["status"]["containerStatuses"][0], "started": False}
        if wait_s:
            container["lastState"] = {"terminated": ended}
            container["state"] = {
                "waiting": {
                    "reason": "CrashLoopBackOff",
                    "message": f"back-off {wait_s:.0f}s restarting failed container=triton",
                }
            }
        else:
            container["state"] = {"terminated": ended}
        self._set_status(pod, containerStatuses=[container], conditions=[{"type": "Ready", "status": "False"}])

    def _pass_probe(self, pod: Object, sandbox: _Sandbox) -> None:
        server, model = sandbox.server, _model(pod)
        assert server is not None
        server.is_started = True
        for version in server.versions(model):
            for index in range(len(server.volume[version].vectors)):
                self.triton.note_right(server, model, version, index)
        container = {**pod["status"]["containerStatuses"][0], "started": True}
        self._set_status(pod, containerStatuses=[container], conditions=[{"type": "Ready", "status": "True"}])

    def _steps_to_refresh(self, pod: Object, sandbox: _Sandbox) -> list[Step]:
        """Each volume follows its ConfigMap by itself."""
        steps: list[Step] = []
        for volume in pod["spec"]["volumes"]:
            name = volume["name"]
            if name not in _MOUNTS or name in self.stale:
                continue
            files = self._files(volume)
            if files is not None and files != sandbox.mounted[name]:
                what = f"{pod['metadata']['name']}: its volume {name} is refreshed"
                steps.append((what, partial(sandbox.mounted.update, {name: files})))
        return steps

    def passes_probe(self, server: TritonServer, mounted: Mapping[str, Mapping[str, str]]) -> bool:
        """Run the startup probe: every version that should be loaded is asked for its golden embeddings."""
        known = json.loads(mounted["proof"]["versions.json"])
        model = known["model"]
        if not self.triton.answers or model not in server.configs:
            return False
        if "proofs" in known:
            proof = known["proofs"].get(own_id(server.configs[model]) or "")
            if proof is None or not proof["versions"]:
                return False
            vectors = {int(v): known["golden"][sha256]["vectors"] for v, sha256 in proof["versions"].items()}
        else:
            proof = known
            vectors = {int(v): record["golden"]["vectors"] for v, record in known["versions"].items()}
        return bool(vectors) and all(
            version in server.versions(model)
            and not golden.difference(
                self.triton.embed(server, model, version, index), golden.decode_vector(vector), proof["minCosine"]
            )
            for version, expected in vectors.items()
            for index, vector in enumerate(expected)
        )

    def would_become_ready(self, pod: Object) -> bool:
        """Tell whether the pod's container would become ready if it started again now, without anybody's help."""
        sandbox = self._sandboxes[pod["metadata"]["uid"]]
        server = sandbox.server
        assert server is not None
        twin = TritonServer(server.pod, server.control_key, server.volume, limit=server.limit)
        ended, self.triton.ended = self.triton.ended, lambda _server, _reason: None
        try:
            model, config = self._config_at_start(pod, sandbox.mounted)
            self.triton.meet(twin, model, config, At.START, content=own_id(config) or "")
        except (RejectedError, RetryError, text_format.ParseError):
            return False
        finally:
            self.triton.ended = ended
        return self.passes_probe(twin, sandbox.mounted)

    def server_of(self, pod: Object) -> TritonServer | None:
        """Give the run of a pod's container that there is now."""
        sandbox = self._sandboxes.get(pod["metadata"]["uid"])
        server = sandbox.server if sandbox is not None else None
        return server if server is not None and not server.is_dead else None

    def next_time(self) -> float | None:
        """Give when the next thing is due that only waits for a time."""
        there = {p["metadata"]["uid"]: p for p in self.cluster.all("Pod") if not is_ending(p)}
        times = []
        for uid, sandbox in self._sandboxes.items():
            server = sandbox.server
            if uid not in there or server is None:
                continue
            if server.is_dead and sandbox.restart_at is not None:
                times.append(sandbox.restart_at)
            elif not server.is_dead and not server.is_started and self.startup_deadline_s is not None:
                times.append(sandbox.started_at + self.startup_deadline_s)
        return min((t for t in times if t > self.cluster.clock.seconds), default=None)

    # What happens to pods.

    def stop(self, pod: Object) -> None:
        """End a pod: at once, or after it has served on for a while."""
        live = self.cluster.objects.get(("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]))
        if live is None:
            return
        if self.ends_slowly and live["metadata"]["uid"] in self._sandboxes and not is_ending(live):
            self.cluster.edit(live, lambda o: o["metadata"].update(deletionTimestamp=self.cluster.clock.stamp()))
            return
        self._remove(live)

    def _remove(self, pod: Object) -> None:
        self._end_sandbox(pod)
        self.cluster.remove(pod)

    def _end_sandbox(self, pod: Object) -> None:
        sandbox = self._sandboxes.pop(pod["metadata"]["uid"], None)
        if sandbox is not None and sandbox.server is not None and not sandbox.server.is_dead:
            self.triton.die(sandbox.server, "Completed")
        self.triton.servers.pop((pod.get("status") or {}).get("podIP", ""), None)

    def evict(self, pod: Object) -> None:
        """Evict a pod: it stays, Failed."""
        self._end_sandbox(pod)
        self._set_status(
            pod,
            phase="Failed",
            reason="Evicted",
            message="The node was low on resource: memory.",
            conditions=[{"type": "Ready", "status": "False"}],
        )

    def kill(self, pod: Object, reason: str = "Error") -> None:
        """Kill a pod's container, as a node that is out of memory does, or a bug of Triton's."""
        server = self.server_of(pod)
        if server is not None:
            self.triton.die(server, reason)

    def restart(self, pod: Object) -> None:
        """Restart a pod's container, and have the API server hear of it at once: its Triton starts anew, in the same pod."""
        sandbox = self._sandboxes.get(pod["metadata"]["uid"])
        if sandbox is not None and sandbox.server is not None and not sandbox.server.is_dead:
            self.triton.die(sandbox.server, "Error")
        if sandbox is not None:
            sandbox.untold = sandbox.restart_at = None
        self._set_status(self._live(pod), phase="Pending", conditions=[], containerStatuses=[])

    def _live(self, pod: Object) -> Object:
        return self.cluster.objects["Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]]

    def _set_status(self, pod: Object, **fields: Any) -> None:
        self.cluster.edit(pod, lambda o: o["status"].update(fields))


def _claim(pod: Object) -> str:
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    return str(volumes["models"]["persistentVolumeClaim"]["claimName"])


def _secret(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["env"][-1]["valueFrom"]["secretKeyRef"]["name"])


def _model(pod: Object) -> str:
    return next(
        str(a).removeprefix("--load-model=")
        for a in pod["spec"]["containers"][0]["args"]
        if str(a).startswith("--load-model=")
    )
