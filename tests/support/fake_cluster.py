"""A cluster in memory: an API server as far as the operator sees it, and controllers that are stepped by hand.

The API server merges applied manifests by owner of fields, writes quantities its own way, fills in defaults, counts generations and
resourceVersions, and collects garbage. Controllers (Job, Deployment, kubelet) offer their next steps as a list, so that a test may take them in
order, at random, or not at all. The volume and Triton are dicts: which bytes are where, and which vectors those bytes embed to.
"""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # it has no types
from tritonclient.grpc import model_config_pb2

from clipmodel_operator.models import golden, names
from clipmodel_operator.models.clipmodel import Tensors
from clipmodel_operator.models.errors import GoneError, RejectedError, RetryError
from clipmodel_operator.models.quantity import parse_quantity
from clipmodel_operator.models.resources import DEPLOYMENTS, JOBS, PODS, Resource
from clipmodel_operator.models.server import Server
from clipmodel_operator.rendering.canonical import content_hash
from support.builders import NOW, build_failure, build_report

Object = dict[str, Any]
Identity = tuple[str, str, str]

#: Lists that are maps, by the field that holds them; all others are replaced as a whole.
_LIST_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "ports": ("containerPort", "port"),
}
_QUANTITY_FIELDS = frozenset({"requests", "limits"})


class FakeClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def stamp(self) -> str:
        return self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical_quantity(text: str | float) -> str:
    """Write a quantity as the API server does."""
    value = parse_quantity(text).quantize(Decimal("1e-9"), rounding=ROUND_CEILING)
    is_whole = value == value.to_integral_value()
    if str(text).endswith("i") and value >= 1024 and is_whole:
        power = 0
        while value % 1024 == 0 and power < 6:
            value, power = value / 1024, power + 1
        return f"{int(value)}{['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}"
    mantissa, power = int(value * 10**9), 0
    while mantissa and mantissa % 1000 == 0 and power < 9:
        mantissa, power = mantissa // 1000, power + 1
    return f"{mantissa}{['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'][power]}" if mantissa else "0"


def canonicalise(value: Any, *, parent: str = "") -> Any:
    """Write all quantities of an object as the API server does."""
    if isinstance(value, dict):
        if parent in _QUANTITY_FIELDS:
            return {k: canonical_quantity(v) for k, v in value.items()}
        return {k: canonical_quantity(v) if k == "sizeLimit" else canonicalise(v, parent=k) for k, v in value.items()}
    if isinstance(value, list):
        return [canonicalise(v) for v in value]
    return value


def _list_key(parent: str, *lists: Any) -> str | None:
    elements = [e for one in lists if isinstance(one, list) for e in one]
    return next(
        (k for k in _LIST_KEYS.get(parent, ()) if elements and all(isinstance(e, dict) and k in e for e in elements)),
        None,
    )


def merge(live: Any, applied: Any, previous: Any, *, parent: str = "") -> Any:
    """Merge what a manager applies into what is, and take out what it applied before and does no more."""
    if isinstance(applied, dict) and isinstance(live, dict):
        before = previous if isinstance(previous, dict) else {}
        result = {k: v for k, v in live.items() if k not in before or k in applied}
        for key in before.keys() - applied.keys():
            rest = merge(live[key], {}, before[key], parent=key) if isinstance(live.get(key), dict) else None
            if rest:
                result[key] = rest
        for key, value in applied.items():
            result[key] = merge(live[key], value, before.get(key), parent=key) if key in live else value
        return result
    key = _list_key(parent, live, applied)
    if isinstance(applied, list) and isinstance(live, list) and key:
        was = {e[key]: e for e in live}
        had = {e[key]: e for e in previous} if isinstance(previous, list) else {}
        mine = {e[key]: merge(was[e[key]], e, had.get(e[key])) if e[key] in was else e for e in applied}
        return [*mine.values(), *(e for k, e in was.items() if k not in mine and k not in had)]
    return applied


def _with_defaults(obj: Object) -> Object:
    """Fill in what the API server fills in: enough to show that a comparison does not mind."""
    spec = obj.get("spec", {})
    match obj["kind"]:
        case "Service":
            spec.setdefault("clusterIP", "10.96.0.7")
            spec.setdefault("sessionAffinity", "None")
        case "Deployment":
            spec.setdefault("progressDeadlineSeconds", 600)
            spec["template"]["spec"].setdefault("dnsPolicy", "ClusterFirst")
            for container in spec["template"]["spec"]["containers"]:
                container.setdefault("imagePullPolicy", "IfNotPresent")
        case "PersistentVolumeClaim":
            spec.setdefault("storageClassName", "standard")
            spec.setdefault("volumeMode", "Filesystem")
            obj.setdefault("status", {"phase": "Pending"})
        case names.KIND:
            obj.setdefault("status", {"observedGeneration": -1})
        case _:
            pass
    return obj


class FakeCluster:
    """The API server. What the operator asks goes through the ObjectStore and StatusStore protocols and is logged in `writes`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.objects: dict[Identity, Object] = {}
        self.writes: list[str] = []
        #: Events that no watch has delivered yet, by kind: within a kind their order is kept.
        self.undelivered: dict[str, deque[tuple[bool, Object]]] = {}
        #: Called before and after each write of the operator; may raise.
        self.before_write: Callable[[str], None] = lambda _: None
        self.after_write: Callable[[str], None] = lambda _: None
        self.before_read: Callable[[str], None] = lambda _: None
        self._applied: dict[tuple[Identity, str], Object] = {}
        self._counter = 0

    # What tests and controllers do.

    def _next(self) -> int:
        self._counter += 1
        return self._counter

    def find(self, kind: str, name: str | None = None, *, namespace: str = "demo") -> Object | None:
        """Give an object, or the only one of its kind."""
        found = [o for (k, s, n), o in self.objects.items() if (k, s) == (kind, namespace) and name in {None, n}]
        assert len(found) <= 1, f"{len(found)} objects of kind {kind}"
        return found[0] if found else None

    def all(self, kind: str) -> list[Object]:
        return [o for (k, _, _), o in sorted(self.objects.items()) if k == kind]

    def add(self, obj: Mapping[str, Any]) -> Object:
        """Create an object as a user or a controller does."""
        new = canonicalise(copy.deepcopy(dict(obj)))
        new["metadata"] |= {"uid": f"uid-{self._next()}", "generation": 1, "creationTimestamp": self.clock.stamp()}
        return self._save(_with_defaults(new))

    def edit(self, obj: Mapping[str, Any], change: Callable[[Object], object]) -> Object:
        """Change an object as a user or a controller does."""
        new = copy.deepcopy(dict(obj))
        change(new)
        return self._save(new)

    def remove(self, obj: Mapping[str, Any]) -> None:
        """Delete an object, and what it owns."""
        identity = self._identity(obj)
        gone = self.objects.pop(identity, None)
        if gone is None:
            return
        for part in ("", "status"):
            self._applied.pop((identity, part), None)
        self._tell(gone, deleted=True)
        uid = gone["metadata"]["uid"]
        for other in list(self.objects.values()):
            if any(o.get("uid") == uid for o in other["metadata"].get("ownerReferences") or ()):
                self.remove(other)

    @staticmethod
    def _identity(obj: Mapping[str, Any]) -> Identity:
        return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]

    def _save(self, obj: Object) -> Object:
        identity = self._identity(obj)
        old = self.objects.get(identity)
        if old is not None:
            if {k: v for k, v in old.items() if k != "metadata"} == {
                k: v for k, v in obj.items() if k != "metadata"
            } and ({**old["metadata"], "resourceVersion": 0} == {**obj["metadata"], "resourceVersion": 0}):
                return old  # nothing changed: no new resourceVersion and no event
            if old.get("spec") != obj.get("spec"):
                obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        obj["metadata"]["resourceVersion"] = str(self._next())
        self.objects[identity] = obj
        self._tell(obj, deleted=False)
        return obj

    def _tell(self, obj: Object, *, deleted: bool) -> None:
        self.undelivered.setdefault(obj["kind"], deque()).append((deleted, copy.deepcopy(obj)))

    # What the operator does.

    async def list_objects(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> list[Object]:
        key, _, value = label_selector.partition("=")
        return [
            copy.deepcopy(o)
            for o in self.all(resource.kind)
            if namespace in {None, o["metadata"]["namespace"]}
            and (not key or (o["metadata"].get("labels") or {}).get(key) == value)
        ]

    async def get_object(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self.before_read(f"get {resource.kind} {name}")
        return copy.deepcopy(self.objects.get((resource.kind, namespace, name)))

    async def apply_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        return self._apply(resource, namespace, manifest, part="")

    async def apply_status(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object:
        return self._apply(resource, namespace, manifest, part="status")

    def _apply(self, resource: Resource, namespace: str, manifest: Mapping[str, Any], *, part: str) -> Object:
        name = manifest["metadata"]["name"]
        what = f"apply {resource.kind} {name}" + (f" {part}" if part else "")
        self.before_write(what)
        identity = (resource.kind, namespace, name)
        applied = canonicalise(copy.deepcopy(dict(manifest)))
        applied["metadata"].pop("namespace", None)
        live = self.objects.get(identity)
        if live is None and part:
            raise GoneError(f"{what}: not found")
        uid = applied["metadata"].pop("uid", None)
        if live is not None and uid is not None and uid != live["metadata"]["uid"]:
            raise RetryError(
                f"{what}: Precondition failed: UID in precondition: {uid}, UID in object meta: {live['metadata']['uid']}"
            )
        self.writes.append(what)
        previous = self._applied.get((identity, part))
        if part:
            applied = {part: applied[part]}
        if live is None:
            saved = self.add({**applied, "metadata": {**applied["metadata"], "namespace": namespace}})
        else:
            saved = self._save(copy.deepcopy(merge(live, applied, previous)))
        self._applied[identity, part] = applied
        self.after_write(what)
        return copy.deepcopy(saved)

    async def create_object(self, resource: Resource, namespace: str, manifest: Mapping[str, Any]) -> Object | None:
        name = manifest["metadata"]["name"]
        what = f"create {resource.kind}" + ("" if resource.kind == "Event" else f" {name}")
        self.before_write(what)
        self.writes.append(what if resource.kind != "Event" else f"{what} {manifest['reason']}")
        if (resource.kind, namespace, name) in self.objects:
            return None
        saved = self.add({**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})
        self.after_write(what)
        return copy.deepcopy(saved)

    async def delete_object(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        what = f"delete {resource.kind} {name}"
        self.before_write(what)
        self.writes.append(what)
        live = self.objects.get((resource.kind, namespace, name))
        if live is not None and live["metadata"]["uid"] == uid:
            self.remove(live)
        self.after_write(what)


@dataclass(slots=True)
class Upload:
    """What is found at a URI: bytes, and the vectors they embed to; or why a sync of it fails."""

    sha256: str
    vectors: tuple[tuple[float, ...], ...]
    failure: tuple[str, str] | None = None
    """(result, reason) of the report."""
    is_refused: bool = False
    """Triton cannot load it."""
    is_wrong: bool = False
    """Triton embeds it otherwise than the sync did."""


Step = tuple[str, Callable[[], None]]


@dataclass(slots=True)
class TritonServer:
    """One pod's Triton: which versions of which model it has loaded, and by which config."""

    pod: str
    control_key: str
    volume: dict[int, Upload]
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    proven: set[int] = field(default_factory=set)
    """Versions that were embedded with under the candidate's name, or at start."""

    def load(self, model: str, config: Mapping[str, Any]) -> None:
        assert config["name"] == model, "Triton refuses another name"
        versions = self._versions(config)
        if not versions or any(self.volume[v].is_refused for v in versions):
            raise RejectedError(f"failed to load '{model}'")
        self.configs[model] = config

    def _versions(self, config: Mapping[str, Any]) -> list[int]:
        # `specific` skips what is not there, and says nothing.
        return [v for v in (int(v) for v in config["version_policy"]["specific"]["versions"]) if v in self.volume]

    def versions(self, model: str) -> list[int]:
        return self._versions(self.configs[model]) if model in self.configs else []


@dataclass(slots=True)
class Machines:
    """Job controller, Deployment controller, kubelet, volume and Triton: each step of theirs is taken by a test."""

    cluster: FakeCluster
    uploads: dict[str, Upload] = field(default_factory=dict)
    volumes: dict[str, dict[int, Upload]] = field(default_factory=dict)
    """By claim: which version is which bytes."""
    servers: dict[str, TritonServer] = field(default_factory=dict)
    """By pod IP."""
    loses_reports: bool = False
    """Pods of Jobs are gone before anybody reads what they said."""
    serves_wrong: bool = False
    """Triton answers with other embeddings than the bytes have."""
    answers: bool = True
    """Triton answers at all."""
    refuses: Callable[[str, Mapping[str, Any]], bool] = lambda _model, _config: False
    """Which loads Triton refuses, beside those of bytes that it cannot load."""
    asked: int = 0

    # The volume and Triton.

    def _server(self, server: Server) -> TritonServer:
        found = self.servers.get(server.address)
        if found is None or not self.answers:
            raise RetryError("Triton does not answer")
        return found

    def _controlled(self, server: Server) -> TritonServer:
        found = self._server(server)
        if server.control_key != found.control_key:
            raise RetryError("Triton answers HTTP 403: this API is restricted")
        return found

    def _vector(self, upload: Upload, index: int) -> tuple[float, ...]:
        vector = upload.vectors[index]
        return tuple(reversed(vector)) if self.serves_wrong or upload.is_wrong else vector

    async def embed_golden(
        self, server: Server, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        del tensors
        self.asked += 1
        found = self._server(server)
        if version not in found.versions(model):
            raise RejectedError(f"Request for unknown model: '{model}' version {version} is not found")
        if model.endswith(names.CANDIDATE_SUFFIX):
            found.proven.add(version)
        return self._vector(found.volume[version], index)

    async def get_config(self, server: Server, model: str) -> Mapping[str, Any]:
        found = self._controlled(server)
        if model not in found.configs:
            raise RejectedError(f"Request for unknown model: '{model}' is not found")
        return found.configs[model]

    async def load(self, server: Server, model: str, config: Mapping[str, Any]) -> None:
        found = self._controlled(server)
        versions = config["version_policy"]["specific"]["versions"]
        self.cluster.before_write(f"load {model}")
        self.cluster.writes.append(f"load {model} {versions} on {found.pod}")
        if self.refuses(model, config):
            raise RejectedError(f"failed to load '{model}'")
        if not model.endswith(names.CANDIDATE_SUFFIX):
            assert set(versions) <= found.proven, "nothing unproven is ever loaded under the real name"
        found.load(model, json.loads(json.dumps(config)))
        self.cluster.after_write(f"load {model}")

    async def unload(self, server: Server, model: str) -> None:
        found = self._controlled(server)
        if found.configs.pop(model, None) is None:
            raise RejectedError(f"failed to unload '{model}': it is not loaded")

    async def loaded_versions(self, server: Server, model: str) -> frozenset[int]:
        return frozenset(self._controlled(server).versions(model))

    # The controllers.

    def steps(self) -> list[Step]:
        """List what could happen next, in a fixed order."""
        found: list[Step] = []
        for job in self.cluster.all(JOBS.kind):
            found += self._job_steps(job)
        for deployment in self.cluster.all(DEPLOYMENTS.kind):
            found += self._deployment_steps(deployment)
        return found

    def _pods_of(self, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [
            p
            for p in self.cluster.all(PODS.kind)
            if any(o["uid"] == uid for o in p["metadata"].get("ownerReferences") or ())
        ]

    def _add_pod(self, owner: Object, *, extra: Object | None = None) -> None:
        template = owner["spec"]["template"]
        name = f"{owner['metadata']['name']}-{self.cluster._next()}"
        reference = {"kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        self.cluster.add({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **copy.deepcopy(template["metadata"]),
                "name": name,
                "namespace": owner["metadata"]["namespace"],
                "ownerReferences": [reference],
            },
            "spec": {**copy.deepcopy(template["spec"]), **(extra or {})},
            "status": {"phase": "Pending"},
        })  # fmt: skip

    def _job_steps(self, job: Object) -> list[Step]:
        name, status = job["metadata"]["name"], job.get("status") or {}
        if status.get("conditions"):
            return []
        pods = self._pods_of(job)
        pending = next((p for p in pods if p["status"]["phase"] == "Pending"), None)
        if pending is not None:
            claim = job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
            if self.cluster.find("PersistentVolumeClaim", claim) is None:
                return []  # the pod cannot be scheduled without its claim
            return [(f"{name}: the pod runs", lambda: self._run_sync(job, pending))]
        codes = status.get("codes", [])
        if 0 in codes:
            return [(f"{name}: completes", lambda: self._end_job(job, "Complete"))]
        if 10 in codes or len(codes) > job["spec"]["backoffLimit"]:
            return [(f"{name}: fails", lambda: self._end_job(job, "Failed"))]
        return [(f"{name}: makes a pod", lambda: self._add_pod(job))]

    def _end_job(self, job: Object, kind: str) -> None:
        condition = {
            "type": kind,
            "status": "True",
            "lastTransitionTime": self.cluster.clock.stamp(),
            "message": "as pods say",
        }
        self.cluster.edit(job, lambda o: o.setdefault("status", {}).update(conditions=[condition]))

    def _run_sync(self, job: Object, pod: Object) -> None:
        """Fetch, prove and report, as docs/spec/sync.md says."""
        arguments = dict(
            a.removeprefix("--").split("=", 1) for a in job["spec"]["template"]["spec"]["containers"][0]["args"]
        )
        claim = job["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
        live = self.cluster.find("PersistentVolumeClaim", claim)
        assert live is not None
        self.cluster.edit(live, lambda o: o.update(status={"phase": "Bound"}))
        version, volume = int(arguments["version"]), self.volumes.setdefault(claim, {})
        upload, code = self.uploads.get(arguments["uri"]), 10
        on_volume = volume.get(version)
        if on_volume is not None and on_volume.sha256 != arguments["sha256"]:
            report = build_failure("VersionImmutable", version=version)
        elif on_volume is not None:
            report, code = build_report(version, sha256=on_volume.sha256, vectors=on_volume.vectors), 0
        elif upload is None:
            report = build_failure("SourceNotFound", version=version)
        elif upload.failure is not None:
            result, reason = upload.failure
            report, code = build_failure(reason, result=result, version=version), 10 if result == "Failed" else 11
        elif upload.sha256 != arguments["sha256"]:
            report = build_failure("DigestMismatch", version=version)
        else:
            volume[version] = upload
            report, code = build_report(version, sha256=upload.sha256, vectors=upload.vectors), 0
        ended = {"name": "sync", "state": {"terminated": {"exitCode": code, "message": report}}}
        phase = "Succeeded" if code == 0 else "Failed"
        self.cluster.edit(pod, lambda o: o["status"].update(phase=phase, containerStatuses=[ended]))
        if self.loses_reports:
            self.cluster.remove(pod)
        self.cluster.edit(job, lambda o: o.setdefault("status", {}).setdefault("codes", []).append(code))

    def _deployment_steps(self, deployment: Object) -> list[Step]:
        """Roll as `maxSurge: 0, maxUnavailable: 1` says, and start the pods that there are."""
        name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        template = content_hash(deployment["spec"]["template"])
        pods = self._pods_of(deployment)
        old = [p for p in pods if p["spec"]["templateHash"] != template]
        ready = [p for p in pods if _is_ready(p)]
        steps: list[Step] = []
        victims = sorted(old, key=_is_ready) or sorted(pods, key=_is_ready)
        if len(pods) > wanted:
            steps.append((f"{name}: {victims[0]['metadata']['name']} is one too many", lambda: self._stop(victims[0])))
        elif len(pods) < wanted:
            steps.append((f"{name}: makes a pod", lambda: self._add_pod(deployment, extra={"templateHash": template})))
        elif old and len(ready) - _is_ready(victims[0]) >= wanted - 1:
            steps.append((f"{name}: {victims[0]['metadata']['name']} is replaced", lambda: self._stop(victims[0])))
        for pod in pods:
            steps += self._kubelet_steps(pod)
        return steps

    def _stop(self, pod: Object) -> None:
        self.servers.pop((pod.get("status") or {}).get("podIP", ""), None)
        self.cluster.remove(pod)

    def _kubelet_steps(self, pod: Object) -> list[Step]:
        name, volumes = pod["metadata"]["name"], {v["name"]: v for v in pod["spec"]["volumes"]}
        config = self.cluster.find("ConfigMap", volumes["config"]["configMap"]["name"])
        claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
        secret = pod["spec"]["containers"][0]["env"][-1]["valueFrom"]["secretKeyRef"]["name"]
        if pod["status"]["phase"] == "Pending":
            if config is None:
                return []
            if self.cluster.find("Secret", secret) is None:
                waits = {
                    "name": "triton",
                    "state": {
                        "waiting": {"reason": "CreateContainerConfigError", "message": f'secret "{secret}" not found'}
                    },
                }
                if pod["status"].get("containerStatuses") == [waits]:
                    return []
                return [
                    (
                        f"{name}: waits for its Secret",
                        lambda: self._set_status(pod, phase="Pending", containerStatuses=[waits]),
                    )
                ]
            if self.cluster.find("PersistentVolumeClaim", claim) is None:
                return []
            return [(f"{name}: starts", lambda: self._start(pod, config, claim, secret))]
        if not _is_ready(pod) and config is not None and self._passes_probe(pod, config):
            return [
                (f"{name}: is ready", lambda: self._set_status(pod, conditions=[{"type": "Ready", "status": "True"}]))
            ]
        return []

    def _set_status(self, pod: Object, **fields: Any) -> None:
        self.cluster.edit(pod, lambda o: o["status"].update(fields))

    def _start(self, pod: Object, config: Object, claim: str, secret: str) -> None:
        """Start Triton: it loads what the ConfigMap says now, or exits."""
        number = self.cluster._next()
        address = f"10.1.{number // 256}.{number % 256}"
        (model,) = (a.split("=")[1] for a in pod["spec"]["containers"][0]["args"] if a.startswith("--load-model="))
        (profile,) = (
            a.split("=")[1] for a in pod["spec"]["containers"][0]["args"] if a.startswith("--model-config-name=")
        )
        parsed = text_format.Parse(config["data"][f"{profile}.pbtxt"], model_config_pb2.ModelConfig())
        found = self.cluster.find("Secret", secret)
        assert found is not None
        server = TritonServer(pod["metadata"]["name"], found["stringData"]["key"], self.volumes.get(claim, {}))
        server.load(model, json_format.MessageToDict(parsed, preserving_proto_field_name=True))
        server.proven |= set(server.versions(model))
        self.servers[address] = server
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
        server, known = self.servers[pod["status"]["podIP"]], json.loads(config["data"]["versions.json"])
        if not self.answers or not known["versions"]:
            return False
        for version, record in known["versions"].items():
            if int(version) not in server.versions(known["model"]):
                return False
            for index, vector in enumerate(record["golden"]["vectors"]):
                if golden.difference(self._vector(server.volume[int(version)], index), golden.decode_vector(vector)):
                    return False
        return True

    def restart(self, pod: Object) -> None:
        """Restart a pod's container: its Triton starts anew, in the same pod."""
        self.servers.pop(pod["status"]["podIP"], None)
        self._set_status(
            self.cluster.objects["Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]],
            phase="Pending",
            conditions=[],
            containerStatuses=[],
        )

    def ready_servers(self) -> list[TritonServer]:
        return [self.servers[p["status"]["podIP"]] for p in self.cluster.all(PODS.kind) if _is_ready(p)]

    def can_embed(self, *versions: int, model: str = "clip") -> bool:
        """Tell whether a client gets exactly these versions' own embeddings from every ready pod, and there is one."""
        ready = self.ready_servers()
        return (
            bool(ready)
            and not self.serves_wrong
            and all(
                tuple(s.versions(model)) == versions and not any(s.volume[v].is_wrong for v in versions) for s in ready
            )
        )


def _is_ready(pod: Object) -> bool:
    return any(c == {"type": "Ready", "status": "True"} for c in (pod.get("status") or {}).get("conditions") or ())
