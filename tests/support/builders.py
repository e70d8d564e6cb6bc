"""What operator tests are about: ClipModels, records, Jobs, pods. Everything has a default, so that a test says only what matters to it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clipmodel_contract import golden
from clipmodel_contract.report import VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel, parse_clip_model
from clipmodel_operator.models import names
from clipmodel_operator.models.ledger import Ledger
from clipmodel_operator.models.observed import Loaded, PodView
from clipmodel_operator.rendering.config_map import render_config_map
from clipmodel_operator.rendering.revision import render_revision

NAMESPACE = "demo"
NAME = "clip"
UID = "11111111-1111-1111-1111-111111111111"
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SHA_1 = "1" * 64
SHA_2 = "2" * 64
SHA_OTHER = "f" * 64
URI_1 = "https://models.example.com/one.onnx"
URI_2 = "https://models.example.com/two.onnx"
URI_OTHER = "https://models.example.com/other.onnx"
#: Two golden vectors of each model; four values do for a comparison. The second model is of the first one's space, the other is not.
VECTORS_1 = ((1.0, 2.0, 3.0, 4.0), (4.0, -3.0, 2.0, -1.0))
VECTORS_2 = ((1.0, 2.0, 3.0, 4.03125), (4.0, -3.0, 2.0, -1.03125))
#: What is served in place of the first model's: within 0.999 of it, and not within 0.9999, which is the default.
VECTORS_NEAR_1 = tuple((0.98 * a, 1.02 * b, 0.98 * c, 1.02 * d) for a, b, c, d in VECTORS_1)
VECTORS_OTHER = ((-2.0, 1.0, 0.5, 3.0), (0.25, 1.0, -8.0, 2.0))
SIGNATURE = {
    "input": {"name": "image", "dtype": "FP32", "shape": [-1, 3, 224, 224]},
    "output": {"name": "embedding", "dtype": "FP32", "shape": [-1, 512]},
}

Object = dict[str, Any]


def build_version(version: int = 1, *, uri: str = URI_1, sha256: str = SHA_1, **fields: Any) -> Object:
    return {"version": version, "source": {"uri": uri, "sha256": sha256}, **fields}


ONE = build_version()
TWO = build_version(2, uri=URI_2, sha256=SHA_2)
OTHER = build_version(3, uri=URI_OTHER, sha256=SHA_OTHER)


def build_spec(*versions: Object, **fields: Any) -> Object:
    """Build a spec; `fields` are further fields as users write them."""
    return {"profile": "cpu", "versions": [copy.deepcopy(v) for v in versions or (ONE,)], **fields}


def build_object(
    spec: Mapping[str, Any] | None = None, *, name: str = NAME, generation: int = 1, status: Any = None
) -> Object:
    """Build a ClipModel as the API server gives it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": generation,
            "resourceVersion": "1",
        },
        "spec": dict(spec) if spec is not None else build_spec(),
        **({"status": status} if status is not None else {}),
    }


def build_model(spec: Mapping[str, Any] | None = None, *, name: str = NAME, status: Any = None) -> ClipModel:
    return parse_clip_model(build_object(spec, name=name, status=status))


def build_record(
    version: int = 1,
    *,
    sha256: str = SHA_1,
    vectors: Sequence[Sequence[float]] = VECTORS_1,
    size_bytes: int = 351_461_235,
) -> VersionRecord:
    return VersionRecord(
        version=version,
        sha256=sha256,
        size_bytes=size_bytes,
        signature=json.dumps(SIGNATURE, sort_keys=True),
        vectors=tuple(golden.encode_vector(v) for v in vectors),
    )


def build_report(version: int = 1, *, sha256: str = SHA_1, vectors: Sequence[Sequence[float]] = VECTORS_1) -> str:
    """Build the report of a sync that succeeded."""
    return json.dumps({
        "version": version,
        "result": "Synced",
        "sha256": sha256,
        "bytes": 351_461_235,
        "signature": SIGNATURE,
        "golden": {"images": golden.IMAGES, "dtype": "float16", "vectors": [golden.encode_vector(v) for v in vectors]},
    })  # fmt: skip


def build_failure(
    reason: str, *, result: str = "Failed", message: str = "it went wrong, mend it", version: int = 1
) -> str:
    """Build the report of a sync that failed."""
    return json.dumps({"version": version, "result": result, "reason": reason, "message": message})


def build_server_pod(
    name: str = "clip-0",
    *,
    profile: str = "cpu",
    is_ready: bool = True,
    is_running: bool = True,
    is_ending: bool = False,
    waiting: Mapping[str, str] | None = None,
    last_log: str | None = None,
    unschedulable: str | None = None,
) -> Object:
    """Build a Triton pod."""
    if waiting is not None or unschedulable is not None:
        is_ready = is_running = False
    state: Object = {"waiting": dict(waiting or {"reason": "ContainerCreating"})}
    if is_running:
        state = {"running": {"startedAt": "2026-11-22T11:00:00Z"}}
    conditions = [{"type": "Ready", "status": "True" if is_ready else "False"}]
    if unschedulable is not None:
        conditions.append(
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": unschedulable,
            }
        )
    container: Object = {"name": "triton", "containerID": f"containerd://{name}", "state": state}
    if last_log is not None:
        container["lastState"] = {"terminated": {"message": last_log}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "labels": names.labels(NAME, names.COMPONENT_SERVER),
            "annotations": {names.ANNOTATION_PROFILE: profile},
            **({"deletionTimestamp": "2026-11-22T11:59:00Z"} if is_ending else {}),
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running" if is_running else "Pending",
            "podIP": "10.0.0.1" if is_running else None,
            "conditions": conditions,
            "containerStatuses": [container] if unschedulable is None else [],
        },
    }


def build_job(
    name: str = "job", *, complete: bool = False, failed_at: str | None = None, uid: str = "uid-job"
) -> Object:
    conditions = []
    if complete:
        conditions.append({"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-22T11:00:00Z"})
    if failed_at is not None:
        conditions.append({
            "type": "Failed",
            "status": "True",
            "lastTransitionTime": failed_at,
            "reason": "BackoffLimitExceeded",
            "message": "Job has reached the specified backoff limit",
        })  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid,
            "labels": names.labels(NAME, names.COMPONENT_SYNC),
        },
        "status": {"conditions": conditions},
    }


def build_sync_pod(
    name: str = "job-a",
    *,
    report: str | None = None,
    created: str = "2026-11-22T11:00:00Z",
    job_uid: str = "uid-job",
    waiting: Mapping[str, str] | None = None,
) -> Object:
    """Build a sync Job's pod: running, waiting, or ended with a report."""
    state: Object = {"running": {}}
    if report is not None:
        state = {"terminated": {"exitCode": 0, "message": report}}
    elif waiting is not None:
        state = {"waiting": dict(waiting)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            "labels": names.labels(NAME, names.COMPONENT_SYNC),
            "ownerReferences": [{"kind": "Job", "name": "job", "uid": job_uid}],
        },
        "status": {"phase": "Running", "containerStatuses": [{"name": "sync", "state": state}]},
    }


def build_view(
    *versions: int, pod: Object | None = None, config_id: str = "", difference: str | None = None
) -> PodView:
    """Build a pod with what its Triton said; without versions it has not answered."""
    pod = build_server_pod() if pod is None else pod
    loaded = Loaded(config_id, versions, difference) if versions else None
    return PodView(pod, pod["metadata"]["annotations"][names.ANNOTATION_PROFILE], loaded)


def build_ledger(*serving: int, records: Sequence[VersionRecord] = (), model: ClipModel | None = None) -> Ledger:
    """Build the ledger of the versions that are proven; without `records`, version 1's alone is known."""
    known = tuple(records) or (build_record(),)
    digests = {r.version: r.sha256 for r in known if r.version in serving}
    revision = render_revision(model or build_model(), digests) if digests else None
    return Ledger(boot=revision, proven=revision, records=known)


def build_config_map(*serving: int, records: Sequence[VersionRecord] = (), model: ClipModel | None = None) -> Object:
    """Build the commit of the versions that serve; without `records`, version 1's alone is known."""
    model = model or build_model()
    return render_config_map(model, build_ledger(*serving, records=records, model=model))
