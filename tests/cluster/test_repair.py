"""What others break comes back by itself, and what others own is left alone: drift, deletions, lost states, evictions."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from support.cluster import OPERATOR, Namespace, Object, clip_model, condition, until
from support.faults import evict, held_source
from support.model_server import ModelServer
from support.servers import RESOURCES, assert_settled, edit, lives, servers
from support.tiny_onnx import build_tiny_onnx

# No pods: its Deployment's template can be changed without a pod that starts for it.
STILL = "still"
SERVING = "tiny"
FILES = {v: build_tiny_onnx(seed=3 if v == 4 else 1, note=f"repair {v}") for v in (1, 2, 3, 4)}
DELETE = {"size": "1Gi", "reclaimPolicy": "Delete"}
RETAIN = {"size": "1Gi", "reclaimPolicy": "Retain"}


def _versions(sources: Mapping[int, tuple[str, str]], *numbers: int) -> list[dict[str, Any]]:
    return [{"version": n, "source": {"uri": sources[n][0], "sha256": sources[n][1]}} for n in numbers]


def _clip(
    name: str, versions: list[dict[str, Any]], *, replicas: int = 1, storage: Mapping[str, str] | None = None
) -> Object:
    clip = clip_model(name, uri="", sha256="", storage=dict(storage or DELETE))
    clip["spec"]["versions"] = versions
    clip["spec"]["serving"] = {"replicas": replicas, "resources": RESOURCES}
    return clip


@pytest.fixture(scope="module")
def sources(model_server: ModelServer) -> dict[int, tuple[str, str]]:
    return {v: model_server.put(content) for v, content in FILES.items()}


@pytest.fixture(scope="module")
def still(shared_namespace: Namespace, sources: dict[int, tuple[str, str]]) -> Namespace:
    """Serve with no pods: everything is there, and nothing runs."""
    shared_namespace.kubectl.apply(_clip(STILL, _versions(sources, 1), replicas=0))
    shared_namespace.wait_reason(STILL, "Ready", "ScaledToZero")
    until(lambda: shared_namespace.kubectl.get("deployment", STILL), "everything is there")
    return shared_namespace


@pytest.fixture(scope="module")
def serving(shared_namespace: Namespace, sources: dict[int, tuple[str, str]]) -> Namespace:
    shared_namespace.kubectl.apply(_clip(SERVING, _versions(sources, 1, 2), replicas=2))
    until(lambda: len(lives(shared_namespace, SERVING)) == 2, "both pods are there")
    shared_namespace.wait_ready(SERVING)
    return shared_namespace


def _content(obj: Object) -> Object:
    """Give what somebody meant by an object: no bookkeeping of the API server and of controllers."""
    content = {k: v for k, v in copy.deepcopy(obj).items() if k != "status"}
    metadata = content["metadata"]
    content["metadata"] = {k: metadata.get(k) for k in ("name", "labels", "annotations", "ownerReferences")}
    annotations = content["metadata"].pop("annotations") or {}
    annotations.pop("deployment.kubernetes.io/revision", None)
    content["metadata"]["annotations"] = annotations
    return content


CONTAINER = "/spec/template/spec/containers/0"
MODEL_LABEL = "clipmodel.dev~1model"
DRIFT: dict[str, tuple[str, str, list[tuple[str, str, object]]]] = {
    # what drifts: kind, name, JSON patch
    "a Service's selector": ("service", STILL, [("replace", f"/spec/selector/{MODEL_LABEL}", "nobody")]),
    "where a Service's port leads": ("service", STILL, [("replace", "/spec/ports/0/targetPort", 9)]),
    "a Service's port is gone": ("service", STILL, [("remove", "/spec/ports/1", None)]),
    "a Service's label by which we find it": ("service", STILL, [("remove", f"/metadata/labels/{MODEL_LABEL}", None)]),
    "a Service's owner": ("service", STILL, [("remove", "/metadata/ownerReferences", None)]),
    "Triton's image": ("deployment", STILL, [("replace", f"{CONTAINER}/image", "example.invalid/triton:1")]),
    "one of Triton's arguments": (
        "deployment",
        STILL,
        [("replace", f"{CONTAINER}/args/1", "--model-control-mode=poll")],
    ),
    "an argument too many": ("deployment", STILL, [("add", f"{CONTAINER}/args/-", "--exit-on-error=false")]),
    "an environment variable": ("deployment", STILL, [("replace", f"{CONTAINER}/env/0/value", "0")]),
    "a probe's path": (
        "deployment",
        STILL,
        [("replace", f"{CONTAINER}/readinessProbe/httpGet/path", "/v2/health/ready")],
    ),
    "a probe is gone": ("deployment", STILL, [("remove", f"{CONTAINER}/startupProbe", None)]),
    "resources": ("deployment", STILL, [("replace", f"{CONTAINER}/resources/requests/memory", "129Mi")]),
    "a volume that becomes writable": (
        "deployment",
        STILL,
        [("replace", f"{CONTAINER}/volumeMounts/0/readOnly", False)],
    ),
    "privileges": ("deployment", STILL, [("replace", f"{CONTAINER}/securityContext/readOnlyRootFilesystem", False)]),
    "how many pods there are": ("deployment", STILL, [("replace", "/spec/replicas", 1)]),
    "the strategy": ("deployment", STILL, [("replace", "/spec/strategy", {"type": "Recreate"})]),
    "the profile that pods read": (
        "deployment",
        STILL,
        [("replace", "/spec/template/metadata/annotations/clipmodel.dev~1profile", "gpu")],
    ),
    "a Deployment's labels": ("deployment", STILL, [("replace", "/metadata/labels", {})]),
    "config.pbtxt": ("configmap", f"{STILL}-config", [("replace", "/data/cpu.pbtxt", "edited by hand")]),
    "the other profile's config.pbtxt": ("configmap", f"{STILL}-config", [("remove", "/data/gpu.pbtxt", None)]),
    "the golden vectors": ("configmap", f"{STILL}-config", [("replace", "/data/versions.json", '{"versions": {}}')]),
    "the records": ("configmap", f"{STILL}-config", [("replace", "/data/records.json", "{}")]),
    "the startup probe": ("configmap", f"{STILL}-config", [("replace", "/data/probe.py", "raise SystemExit(0)")]),
    "all of the ConfigMap": (
        "configmap",
        f"{STILL}-config",
        [("remove", "/data", None), ("remove", "/metadata/annotations", None)],
    ),
    "a claim's labels": ("pvc", f"{STILL}-models", [("remove", f"/metadata/labels/{MODEL_LABEL}", None)]),
    "a claim's owner": ("pvc", f"{STILL}-models", [("remove", "/metadata/ownerReferences", None)]),
}


@pytest.mark.parametrize("case", DRIFT)
def test_drift_is_undone(still: Namespace, case: str) -> None:
    """One by one: an operator that sees any of them writes all of the object again."""
    kind, name, changes = DRIFT[case]
    kubectl = still.kubectl

    def content() -> Object:
        return _content(kubectl.the(kind, name))

    before = content()
    patch = [{"op": op, "path": path} | ({} if op == "remove" else {"value": value}) for op, path, value in changes]
    kubectl.patch(kind, name, patch, how="json")
    until(lambda: content() == before, f"{kind} {name} is as it was", seen=content)


SHOP = {"app": "shop"}
#: What somebody has under a name that we would take: kind, the end of its name, and the rest of it.
FOREIGN: dict[str, tuple[str, str, Object]] = {
    "pvc": ("PersistentVolumeClaim", "-models", {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}
    }}),
    "configmap": ("ConfigMap", "-config", {"data": {"shop.conf": "open"}}),
    "service": ("Service", "", {"spec": {"selector": SHOP, "ports": [{"name": "http", "port": 8000}]}}),
    "deployment": ("Deployment", "", {"spec": {
        "replicas": 0,
        "selector": {"matchLabels": SHOP},
        "template": {"metadata": {"labels": SHOP}, "spec": {"containers": [{"name": "shop", "image": "example.invalid/shop"}]}},
    }}),
}  # fmt: skip


@pytest.fixture(scope="module")
def taken(shared_namespace: Namespace, sources: dict[int, tuple[str, str]]) -> dict[str, Object]:
    """Make each of them, then the ClipModel that it is in the way of. Gives what was made."""
    made = {}
    for kind, (title, end, rest) in FOREIGN.items():
        name = f"taken-{kind}"
        version = "apps/v1" if kind == "deployment" else "v1"
        metadata = {"name": f"{name}{end}", "labels": SHOP}
        made[kind] = shared_namespace.kubectl.apply(
            {"apiVersion": version, "kind": title, "metadata": metadata} | copy.deepcopy(rest)
        )
        shared_namespace.kubectl.apply(_clip(name, _versions(sources, 1), replicas=0))
    return made


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_somebody_else_has_under_our_name_is_left_alone(
    shared_namespace: Namespace, taken: dict[str, Object], kind: str
) -> None:
    kubectl, name, end = shared_namespace.kubectl, f"taken-{kind}", FOREIGN[kind][1]
    stalled = shared_namespace.wait_reason(name, "Stalled", "ObjectRejected")
    assert f"{FOREIGN[kind][0]} {name}{end} is there already" in stalled["message"]
    assert _content(kubectl.the(kind, f"{name}{end}")) == _content(taken[kind])
    assert OPERATOR not in {entry["manager"] for entry in _owners(shared_namespace, kind, f"{name}{end}")}
    uid = kubectl.the(kind, f"{name}{end}")["metadata"]["uid"]
    kubectl.delete(kind, f"{name}{end}")

    def is_gone() -> bool:
        found = kubectl.get(kind, f"{name}{end}")  # a pass of another reason may have made ours already
        return found is None or found["metadata"]["uid"] != uid

    until(is_gone, f"{kind} {name}{end} is gone")
    kubectl.patch("clip", name, {"metadata": {"annotations": {"example.com/look": "again"}}})
    shared_namespace.wait_reason(name, "Ready", "ScaledToZero")
    kubectl.delete("clip", name)


def _owners(namespace: Namespace, kind: str, name: str) -> list[Object]:
    """List who has written an object's fields, and how."""
    found = namespace.kubectl.get(kind, name, with_managed_fields=True)
    assert found is not None
    entries: list[Object] = found["metadata"]["managedFields"]
    return entries


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_made_is_owned_by_apply_alone(still: Namespace, kind: str) -> None:
    """A field that was set by a create is owned by an update, and stays when it is applied no more."""
    entries = _owners(still, kind, f"{STILL}{FOREIGN[kind][1]}")
    assert {entry["operation"] for entry in entries if entry["manager"] == OPERATOR} == {"Apply"}


@pytest.mark.parametrize("kind", ["service", "deployment", "configmap", "every one"])
def test_what_is_deleted_comes_back(still: Namespace, kind: str) -> None:
    kubectl = still.kubectl
    every = {"service": STILL, "deployment": STILL, "configmap": f"{STILL}-config"}
    chosen = every if kind == "every one" else {kind: every[kind]}
    uids = {k: kubectl.the(k, n)["metadata"]["uid"] for k, n in chosen.items()}
    for k, n in chosen.items():
        kubectl.delete(k, n)

    def missing() -> list[str]:
        found = {k: kubectl.get(k, n) for k, n in chosen.items()}
        return [k for k, obj in found.items() if obj is None or obj["metadata"]["uid"] == uids[k]]

    until(lambda: not missing() or None, "it is there again", seen=missing)
    still.wait_reason(STILL, "Ready", "ScaledToZero")


def test_what_others_add_is_left_to_them(serving: Namespace) -> None:
    """Labels, annotations, a sidecar's environment: not ours, not removed, and no reason to write."""
    kubectl, before = serving.kubectl, lives(serving, SERVING)
    objects = {"service": SERVING, "deployment": SERVING, "configmap": f"{SERVING}-config", "pvc": f"{SERVING}-models"}
    for kind, name in objects.items():
        note = {"labels": {"example.com/team": "search"}, "annotations": {"example.com/note": "ours"}}
        kubectl.patch(kind, name, {"metadata": note})
    # Something of ours in each, so that each is applied again.
    kubectl.patch("service", SERVING, {"spec": {"selector": {"clipmodel.dev/model": "nobody"}}})
    kubectl.patch("configmap", f"{SERVING}-config", {"data": {"gpu.pbtxt": ""}})
    kubectl.patch("deployment", SERVING, {"spec": {"revisionHistoryLimit": 7}})

    def is_repaired() -> bool:
        service, config_map, deployment = (kubectl.the(k, objects[k]) for k in ("service", "configmap", "deployment"))
        return bool(
            service["spec"]["selector"]["clipmodel.dev/model"] == SERVING
            and config_map["data"]["gpu.pbtxt"]
            and deployment["spec"]["revisionHistoryLimit"] != 7
        )

    until(is_repaired, "what is ours is as it was")
    for kind, name in objects.items():
        found = kubectl.the(kind, name)
        assert found["metadata"]["labels"]["example.com/team"] == "search", kind
        assert found["metadata"]["annotations"]["example.com/note"] == "ours", kind
    serving.wait_ready(SERVING)
    assert lives(serving, SERVING) == before


def test_a_control_key_s_secret_that_is_gone_comes_back_when_it_is_needed(still: Namespace) -> None:
    """The operator may not read Secrets: that one is missing shows in the pod that cannot start without it.

    The first pod after none: as long as another one has the Secret, kubelet has it too, for it is immutable.
    """
    kubectl = still.kubectl
    secrets = [s["metadata"]["name"] for s in kubectl.list("secrets", selector=f"clipmodel.dev/model={STILL}")]
    assert secrets
    kubectl.delete("secret", *secrets)
    edit(still, STILL, {"serving": {"replicas": 1}})
    still.wait_ready(STILL)
    assert all(kubectl.get("secret", name) for name in secrets)
    assert_settled(still, STILL, [1])
    edit(still, STILL, {"serving": {"replicas": 0}})
    still.wait_reason(STILL, "Ready", "ScaledToZero")


def _committed(config_map: Object | None) -> Object | None:
    """Give what pods start with, what is proven, and which versions are known; which revision was proven before is on no volume."""
    if config_map is None:
        return None
    data = config_map["data"]
    configs = {key: text for key, text in data.items() if key.endswith(".pbtxt")}
    revisions, records = json.loads(data["revisions.json"]), json.loads(data["records.json"])["versions"]
    return {
        **configs,
        **{key: revisions[key] for key in ("boot", "proven", "slot")},
        "digests": {number: record["sha256"] for number, record in records.items()},
    }


def test_the_commit_is_read_again_from_the_volume(serving: Namespace) -> None:
    """The ConfigMap is gone, and so are the Jobs with their reports: new Jobs read the volume, and the servers go on undisturbed."""
    kubectl, before = serving.kubectl, lives(serving, SERVING)
    spaces = {v["version"]: v["embeddingSpaceId"] for v in serving.clip(SERVING)["status"]["versions"]}
    committed = _committed(kubectl.get("configmap", f"{SERVING}-config"))
    kubectl.delete_all("jobs", selector=f"clipmodel.dev/model={SERVING}")
    kubectl.delete("configmap", f"{SERVING}-config")

    def is_back() -> bool:
        return _committed(kubectl.get("configmap", f"{SERVING}-config")) == committed

    until(is_back, "the same is committed again", seen=lambda: serving.clip(SERVING)["status"])
    status = serving.wait_ready(SERVING)["status"]
    assert {v["version"]: v["embeddingSpaceId"] for v in status["versions"]} == spaces
    assert lives(serving, SERVING) == before


def test_a_wiped_status_comes_back(serving: Namespace) -> None:
    before = serving.clip(SERVING)["status"]
    wipe = [{"op": "replace", "path": "/status", "value": {}}]
    serving.kubectl.patch("clip", SERVING, wipe, subresource="status", how="json")
    after = serving.wait_ready(SERVING)["status"]
    for status in (before, after):
        for c in status["conditions"]:
            c.pop("lastTransitionTime")
    assert after == before


@pytest.mark.parametrize("how", ["evicted", "deleted", "its Job deleted"])
def test_a_sync_that_is_interrupted_is_done_again(still: Namespace, how: str) -> None:
    kubectl, content = still.kubectl, build_tiny_onnx(seed=1, note=how)
    name = f"sync-{how.partition(' ')[0]}"
    with held_source(still, content, name=f"source-{name}") as source:
        version = {"version": 1, "source": {"uri": source.uri, "sha256": hashlib.sha256(content).hexdigest()}}
        kubectl.apply(_clip(name, [version], replicas=0))
        source.wait_asked()
        selector = f"clipmodel.dev/model={name},app.kubernetes.io/component=sync"
        pod = kubectl.list("pods", selector=selector)[0]["metadata"]["name"]
        job = kubectl.list("jobs", selector=selector)[0]["metadata"]
        match how:
            case "evicted":
                evict(still, pod)
            case "deleted":
                kubectl.delete("pod", pod)
            case _:
                kubectl.delete("job", job["name"])
        until(
            lambda: all(p["metadata"]["name"] != pod for p in kubectl.list("pods", selector=selector)),
            "the pod is gone",
        )
        source.release()
        still.wait_reason(name, "Ready", "ScaledToZero")
        until(lambda: condition(still.clip(name), "Synced") or None, "status speaks of the sync")
    assert condition(still.clip(name), "Synced")["reason"] == "VersionSynced"  # type: ignore[index]  # it is there
    kubectl.delete("clip", name)


def _proven(config_map: Mapping[str, Any]) -> Any:
    """Give the id of what is proven."""
    return json.loads(config_map["data"]["revisions.json"])["proven"]


def test_a_recreated_resource_finds_its_versions_and_its_space_again(
    namespace: Namespace, sources: dict[int, tuple[str, str]]
) -> None:
    """On a retained volume, with sources that are gone: the same versions, the same space, and the same gate before another one."""
    kubectl, name = namespace.kubectl, "again"
    kubectl.apply(_clip(name, _versions(sources, 1, 2), storage=RETAIN))
    before = namespace.wait_ready(name)["status"]
    kubectl.delete("clip", name)
    claim = f"persistentvolumeclaim/{name}-models"
    until(
        lambda: namespace.children(name) == [claim] or None,
        "only the claim is left",
        seen=lambda: namespace.children(name),
    )
    gone = _versions(sources, 1, 2)
    for version in gone:
        version["source"]["uri"] = "http://nowhere.invalid/model.onnx"
    kubectl.apply(_clip(name, gone, storage=RETAIN))
    after = namespace.wait_ready(name)["status"]
    assert after["versions"] == before["versions"]
    assert_settled(namespace, name, [2])
    edit(namespace, name, {"versions": [*gone, *_versions(sources, 4)]})
    namespace.wait_reason(name, "Stalled", "EmbeddingSpaceMismatch")
    assert namespace.clip(name)["status"]["servingVersions"] == [2]

    # Nor does a lost commit open the way: what the server runs still counts.
    committed = kubectl.the("configmap", f"{name}-config")
    kubectl.delete("configmap", f"{name}-config")
    until(lambda: kubectl.get("configmap", f"{name}-config"), "the ConfigMap is there again")
    namespace.wait_reason(name, "Stalled", "EmbeddingSpaceMismatch")
    proven = _proven(committed)
    until(
        lambda: _proven(kubectl.the("configmap", f"{name}-config")) == proven,
        "what is proven is known again",
        seen=lambda: kubectl.the("configmap", f"{name}-config")["data"]["revisions.json"],
    )
    assert servers(namespace, name)[0].ready_versions() == {name: [2]}
