"""What admission refuses, of a new object and of a change, with a message that names the field and what is allowed: the API server's own decision.

Asked as kubectl asks (unknown fields are errors); what kubectl prints is the Status's message, which is what is looked at here.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from support.api import ApiError
from support.cluster import KubectlError, Namespace, clip_model

VALID = clip_model("refused", uri="https://models.example.com/vit-b32.onnx", sha256="ab" * 32)


def _with(path: str, value: object) -> dict[str, Any]:
    obj: Any = copy.deepcopy(VALID)
    *parents, last = path.split(".")
    target = obj
    for part in parents:
        target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
    if value is None:
        del target[last]
    else:
        target[last] = value
    return dict(obj)


def _spec(**fields: Any) -> dict[str, Any]:
    """Put fields into the valid spec; the parts that are there already are merged, one level deep."""
    obj: Any = copy.deepcopy(VALID)
    for name, value in fields.items():
        before = obj["spec"].get(name)
        obj["spec"][name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return dict(obj)


def _batching(**fields: Any) -> dict[str, Any]:
    return _spec(batching=fields)


def _policy(**fields: Any) -> dict[str, Any]:
    return _batching(queuePolicy=fields)


def _serving(**fields: Any) -> dict[str, Any]:
    return _spec(serving=fields)


def _gpu(gpus: list[int], **serving: Any) -> dict[str, Any]:
    return _spec(profile="gpu", instances={"gpus": gpus}, serving=serving)


def _node_affinity(**requirement: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    return _serving(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})


def _pod_affinity(**term: Any) -> dict[str, Any]:
    return _serving(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


def _spread(**fields: Any) -> dict[str, Any]:
    valid = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return _serving(topologySpreadConstraints=[{**valid, **fields}])


#: What is wrong -> the object, and what the API server's answer must contain: the field, and what is allowed or was given.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    # metadata
    "a name of 51 characters": (_with("metadata.name", "a" * 51), ["metadata.name is at most 50 characters"]),
    "a name with a dot": (_with("metadata.name", "vit.b32"), ["metadata.name", "no dots"]),
    "a name that starts with a digit": (_with("metadata.name", "32-vit"), ["metadata.name", "starts with a letter"]),
    # spec
    "no spec": (_with("spec", None), ["spec: Required value"]),
    "no profile": (_with("spec.profile", None), ["spec.profile: Required value"]),
    "an unknown profile": (_with("spec.profile", "tpu"), ["spec.profile", "tpu", '"cpu", "gpu"']),
    "a model name with a slash": (_with("spec.modelName", "a/b"), ["spec.modelName", "a/b"]),
    "a model name of 64 characters": (_with("spec.modelName", "m" * 64), ["spec.modelName", "63"]),
    "a reserved model name": (_with("spec.modelName", "vit__candidate"), ["spec.modelName", "__candidate"]),
    "paused that is a word": (_with("spec.paused", "yes"), ["spec.paused", "boolean"]),
    "an unknown field": (_with("spec.batchign", {}), ['unknown field "spec.batchign"']),
    # versions
    "no versions": (_with("spec.versions", []), ["spec.versions", "at least 1"]),
    "65 versions": (
        _spec(versions=[{"version": n, "source": VALID["spec"]["versions"][0]["source"]} for n in range(1, 66)]),
        ["spec.versions", "64"],
    ),
    "a version twice": (_spec(versions=VALID["spec"]["versions"] * 2), ["spec.versions[1]", "Duplicate"]),
    "version 0": (_with("spec.versions.0.version", 0), ["spec.versions[0].version", "greater than or equal to 1"]),
    "a version that is a word": (_with("spec.versions.0.version", "one"), ["spec.versions[0].version", "integer"]),
    "a version without a source": (_with("spec.versions.0.source", None), ["spec.versions[0].source: Required value"]),
    "no sha256": (_with("spec.versions.0.source.sha256", None), ["spec.versions[0].source.sha256: Required value"]),
    "a short sha256": (_with("spec.versions.0.source.sha256", "abc"), ["spec.versions[0].source.sha256", "abc"]),
    "an upper-case sha256": (_with("spec.versions.0.source.sha256", "AB" * 32), ["spec.versions[0].source.sha256"]),
    "no uri": (_with("spec.versions.0.source.uri", None), ["spec.versions[0].source.uri: Required value"]),
    "a file: URI": (_with("spec.versions.0.source.uri", "file:///etc/passwd"), ["spec.versions[0].source.uri", "file:"]),
    "a URI without a path": (_with("spec.versions.0.source.uri", "pvc://claim"), ["spec.versions[0].source.uri"]),
    "a URI with a space": (_with("spec.versions.0.source.uri", "https://h/a b"), ["spec.versions[0].source.uri"]),
    # versionPolicy
    "two policies": (_spec(versionPolicy={"all": {}, "latest": {}}), ["spec.versionPolicy", "one of latest, all and specific"]),
    "the latest none": (_spec(versionPolicy={"latest": {"count": 0}}), ["spec.versionPolicy.latest.count"]),
    "specific without versions": (
        _spec(versionPolicy={"specific": {"versions": []}}),
        ["spec.versionPolicy.specific.versions", "at least 1"],
    ),
    "a specific version that is not there": (
        _spec(versionPolicy={"specific": {"versions": [1, 7]}}),
        ["spec.versionPolicy.specific.versions", "names version 7, which is not in spec.versions"],
    ),
    # verification
    "a tolerance below 0.9": (_spec(verification={"tolerance": "0.5"}), ["spec.verification.tolerance", "at least 0.9, not 0.5"]),
    "a tolerance above 1": (_spec(verification={"tolerance": "1.1"}), ["spec.verification.tolerance"]),
    "a tolerance that is a number": (_spec(verification={"tolerance": 0.99}), ["spec.verification.tolerance", "string"]),
    "an unknown strategy": (_spec(rollout={"strategy": "Recreate"}), ["spec.rollout.strategy", '"InPlace", "Replace"']),
    "an unknown lock": (_spec(verification={"embeddingSpace": "Ajar"}), ["spec.verification.embeddingSpace", '"Locked"']),
    # batching
    "a batch of 0": (_batching(maxBatchSize=0), ["spec.batching.maxBatchSize", "greater than or equal to 1"]),
    "a batch of 2000": (_batching(maxBatchSize=2000), ["spec.batching.maxBatchSize", "1024"]),
    "a preferred size beyond the largest": (
        _batching(maxBatchSize=8, preferredBatchSizes=[4, 16]),
        ["spec.batching.preferredBatchSizes", "maxBatchSize, which is 8: leave out 16"],
    ),
    "a preferred size beyond the default largest": (
        _batching(preferredBatchSizes=[64]),
        ["spec.batching.preferredBatchSizes", "which is 32: leave out 64"],
    ),
    "no preferred sizes": (_batching(preferredBatchSizes=[]), ["spec.batching.preferredBatchSizes", "at least 1"]),
    "a preferred size twice": (_batching(preferredBatchSizes=[4, 4]), ["spec.batching.preferredBatchSizes[1]", "Duplicate"]),
    "a delay without a unit": (_batching(maxQueueDelay="5"), ["spec.batching.maxQueueDelay"]),
    "a delay of a minute": (_batching(maxQueueDelay="60s"), ["spec.batching.maxQueueDelay", "at most 10s, not 60s"]),
    "levels without a default level": (_batching(priorityLevels=3), ["spec.batching.priorityLevels", "needs batching.defaultPriorityLevel"]),
    "a default level without levels": (_batching(defaultPriorityLevel=1), ["spec.batching.defaultPriorityLevel", "needs batching.priorityLevels"]),
    "a default level beyond the levels": (
        _batching(priorityLevels=3, defaultPriorityLevel=4),
        ["spec.batching.defaultPriorityLevel", "must not exceed batching.priorityLevels, which is 3"],
    ),
    "one level": (_batching(priorityLevels=1, defaultPriorityLevel=1), ["spec.batching.priorityLevels", "greater than or equal to 2"]),
    "order and priorities": (
        _batching(preserveOrdering=True, priorityLevels=2, defaultPriorityLevel=2),
        ["spec.batching.preserveOrdering", "excludes batching.priorityLevels"],
    ),
    "order and delayed requests": (
        _batching(preserveOrdering=True, queuePolicy={"timeoutAction": "Delay", "defaultTimeout": "1s"}),
        ["spec.batching.preserveOrdering", "excludes batching.queuePolicy.timeoutAction Delay"],
    ),
    "a queue policy that limits nothing": (_policy(), ["spec.batching.queuePolicy", "limits nothing"]),
    "a queue for nobody": (_policy(maxQueueSize=0), ["spec.batching.queuePolicy.maxQueueSize", "greater than or equal to 1"]),
    "an unknown timeout action": (
        _policy(timeoutAction="Drop", defaultTimeout="1s"),
        ["spec.batching.queuePolicy.timeoutAction", '"Reject", "Delay"'],
    ),
    "Delay without a timeout": (
        _policy(timeoutAction="Delay", maxQueueSize=9),
        ["spec.batching.queuePolicy.timeoutAction", "needs defaultTimeout"],
    ),
    "an override of no timeout": (
        _policy(allowTimeoutOverride=True, maxQueueSize=9),
        ["spec.batching.queuePolicy.allowTimeoutOverride", "needs defaultTimeout"],
    ),
    "a timeout of an hour": (
        _policy(defaultTimeout="3600s"),
        ["spec.batching.queuePolicy.defaultTimeout", "at most 600s, not 3600s"],
    ),
    "a timeout below the delay": (
        _batching(maxQueueDelay="50ms", queuePolicy={"defaultTimeout": "20ms"}),
        ["spec.batching.queuePolicy.defaultTimeout", "more than batching.maxQueueDelay, which is 50ms"],
    ),
    "an unknown field of the queue": (_policy(maxQueueSize=9, size=9), ['unknown field "spec.batching.queuePolicy.size"']),
    # instances, optimization
    "no instance": (_spec(instances={"count": 0}), ["spec.instances.count", "greater than or equal to 1"]),
    "GPUs under profile cpu": (_spec(instances={"gpus": [0]}), ["spec.instances.gpus", "profile is cpu"]),
    "a GPU beyond the only one": (_gpu([1]), ["spec.instances.gpus", "below spec.serving.gpu.count, which is 1"]),
    "a GPU beyond the count": (_gpu([0, 4], gpu={"count": 4}), ["spec.instances.gpus", "below spec.serving.gpu.count, which is 4"]),
    "a negative GPU": (_gpu([-1]), ["spec.instances.gpus[0]", "greater than or equal to 0"]),
    "a GPU twice": (_gpu([0, 0], gpu={"count": 2}), ["spec.instances.gpus[1]", "Duplicate"]),
    "no threads": (_spec(optimization={"intraOpThreads": 0}), ["spec.optimization.intraOpThreads", "greater than or equal to 1"]),
    "one thread for branches": (_spec(optimization={"interOpThreads": 1}), ["spec.optimization.interOpThreads", "greater than or equal to 2"]),
    "an unknown graph level": (_spec(optimization={"graphLevel": "Most"}), ["spec.optimization.graphLevel", '"Extended"']),
    "accelerators, which this release has not": (
        _spec(optimization={"accelerators": []}),
        ['unknown field "spec.optimization.accelerators"'],
    ),
    # storage
    "a size that is none": (_spec(storage={"size": "large"}), ["spec.storage.size", "large"]),
    "a size of 500 thousandths of a byte": (_spec(storage={"size": "500m"}), ["spec.storage.size", "at least 1Mi, not 500m"]),
    "an unknown reclaim policy": (_spec(storage={"reclaimPolicy": "Recycle"}), ["spec.storage.reclaimPolicy", '"Retain", "Delete"']),
    "a mode that Jobs cannot write in": (_spec(storage={"accessModes": ["ReadOnlyMany"]}), ["spec.storage.accessModes[0]", '"ReadWriteMany"']),
    "no access mode": (_spec(storage={"accessModes": []}), ["spec.storage.accessModes", "at least 1"]),
    "a class that is no name": (_spec(storage={"storageClassName": "Fast Disks"}), ["spec.storage.storageClassName"]),
    "an existing claim with a size": (
        _spec(storage={"existingClaim": "mine", "size": "6Gi", "reclaimPolicy": "Retain"}),
        ["spec.storage.existingClaim", "excludes size"],
    ),
    "an existing claim that goes with it": (
        _spec(storage={"existingClaim": "mine", "size": "5Gi", "reclaimPolicy": "Delete"}),
        ["spec.storage.existingClaim", "excludes size, storageClassName, accessModes and reclaimPolicy Delete"],
    ),
    "an existing claim that is no name": (_spec(storage={"existingClaim": "Mine"}), ["spec.storage.existingClaim"]),
    # serving
    "negative replicas": (_serving(replicas=-1), ["spec.serving.replicas", "greater than or equal to 0"]),
    "257 replicas": (_serving(replicas=257), ["spec.serving.replicas", "256"]),
    "an image with a space": (_serving(image="triton:1 "), ["spec.serving.image"]),
    "an unknown field far down": (_serving(replica=2), ['unknown field "spec.serving.replica"']),
    "requests beyond limits": (
        _serving(resources={"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "1024Mi"}}),
        ["spec.serving.resources.requests", "must not exceed serving.resources.limits: look at memory"],
    ),
    "a quantity that is none": (_serving(resources={"limits": {"memory": "a lot"}}), ["spec.serving.resources.limits"]),
    "a resource that is none": (_serving(resources={"limits": {"mem ory": 1}}), ["spec.serving.resources.limits", "mem ory is no key"]),
    "GPUs of profile cpu": (_serving(gpu={"count": 1}), ["spec.serving.gpu", "profile is cpu"]),
    "no GPU": (_spec(profile="gpu", serving={"gpu": {"count": 0}}), ["spec.serving.gpu.count", "greater than or equal to 1"]),
    "a GPU resource without a vendor": (_spec(profile="gpu", serving={"gpu": {"resourceName": "gpu"}}), ["spec.serving.gpu.resourceName"]),
    "GPUs asked for twice": (
        _spec(profile="gpu", serving={"gpu": {"count": 2}, "resources": {"limits": {"nvidia.com/gpu": 1}}}),
        ["spec.serving.gpu", "leave them out of resources"],
    ),
    "a node label that is none": (_serving(nodeSelector={"pool": "a b"}), ["spec.serving.nodeSelector.pool"]),
    "a node label without a name": (_serving(nodeSelector={"pool/": "a"}), ["spec.serving.nodeSelector", "pool/ is no key"]),
    "a toleration of an unknown effect": (_serving(tolerations=[{"effect": "Sometimes"}]), ["spec.serving.tolerations[0].effect"]),
    "a toleration of nothing": (_serving(tolerations=[{"effect": "NoSchedule"}]), ["spec.serving.tolerations[0].key", "needs operator Exists"]),
    "a toleration of any value with a value": (
        _serving(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        ["spec.serving.tolerations[0].value", "has no value"],
    ),
    "a toleration for a time of what ends nothing": (
        _serving(tolerations=[{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}]),
        ["spec.serving.tolerations[0].tolerationSeconds", "needs effect NoExecute"],
    ),
    "a typo in affinity": (_serving(affinity={"nodeAfinity": {}}), ['unknown field "spec.serving.affinity.nodeAfinity"']),
    "a typo deep in affinity": (
        _pod_affinity(topologyKey="kubernetes.io/hostname", labelSelektor={}),
        ["unknown field", "requiredDuringSchedulingIgnoredDuringExecution[0].labelSelektor"],
    ),
    "an unknown operator of affinity": (_node_affinity(key="pool", operator="Is", values=["a"]), ["matchExpressions[0].operator", '"NotIn"']),
    "In without values": (_node_affinity(key="pool", operator="In"), ["matchExpressions[0].values", "one or more with In"]),
    "Exists with values": (_node_affinity(key="pool", operator="Exists", values=["a"]), ["matchExpressions[0].values", "none with Exists"]),
    "Gt with two values": (_node_affinity(key="cores", operator="Gt", values=["1", "2"]), ["matchExpressions[0].values", "exactly one with Gt"]),
    "an empty term of affinity": (
        _serving(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}),
        ["nodeSelectorTerms[0]", "matches no node"],
    ),
    "apart from pods in no topology": (_pod_affinity(labelSelector={}), ["requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value"]),
    "a weight of 0": (
        _serving(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 0, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
        ]}}),
        ["preferredDuringSchedulingIgnoredDuringExecution[0].weight", "greater than or equal to 1"],
    ),
    "a skew of 0": (_spread(maxSkew=0), ["spec.serving.topologySpreadConstraints[0].maxSkew"]),
    "a spread that is unsure": (_spread(whenUnsatisfiable="Maybe"), ["topologySpreadConstraints[0].whenUnsatisfiable", '"DoNotSchedule"']),
    "domains without need": (_spread(minDomains=2), ["topologySpreadConstraints[0].minDomains", "needs whenUnsatisfiable DoNotSchedule"]),
    "a priority class that is no name": (_serving(priorityClassName="Very High"), ["spec.serving.priorityClassName"]),
    "a runtime class that is no name": (_serving(runtimeClassName="nvidia/1"), ["spec.serving.runtimeClassName"]),
    "a service account that is no name": (_serving(serviceAccountName="A"), ["spec.serving.serviceAccountName"]),
    "a pull secret without a name": (_serving(imagePullSecrets=[{}]), ["spec.serving.imagePullSecrets[0].name: Required value"]),
    "a pull secret that is text": (_serving(imagePullSecrets=["mine"]), ["spec.serving.imagePullSecrets[0]", "object"]),
    "a pod label of ours": (_serving(podLabels={"clipmodel.dev/model": "other"}), ["spec.serving.podLabels", "the operator's own"]),
    "a recommended pod label": (_serving(podLabels={"app.kubernetes.io/name": "x"}), ["spec.serving.podLabels", "the operator's own"]),
    "a pod label that is none": (_serving(podLabels={"team": "a b"}), ["spec.serving.podLabels.team"]),
    "a pod annotation of ours": (_serving(podAnnotations={"clipmodel.dev/profile": "gpu"}), ["spec.serving.podAnnotations", "the operator's own"]),
    "a pod annotation that is none": (_serving(podAnnotations={"a b": "c"}), ["spec.serving.podAnnotations", "a b is no key"]),
    "five seconds to start": (
        _serving(probes={"startup": {"deadline": "5s"}}),
        ["spec.serving.probes.startup.deadline", "from 30s to 6h, not 5s"],
    ),
    "a probe every hour": (
        _serving(probes={"readiness": {"period": "1h"}}),
        ["spec.serving.probes.readiness.period", "from 1s to 5m, not 1h"],
    ),
    "a probe that never fails": (
        _serving(probes={"liveness": {"failureThreshold": 0}}),
        ["spec.serving.probes.liveness.failureThreshold", "greater than or equal to 1"],
    ),
    "a probe of one's own": (_serving(probes={"readiness": {"exec": {}}}), ['unknown field "spec.serving.probes.readiness.exec"']),
    "no time to end": (_serving(terminationGracePeriod="10s"), ["spec.serving.terminationGracePeriod", "from 35s to 1h, not 10s"]),
    "a time to end in milliseconds": (_serving(terminationGracePeriod="60000ms"), ["spec.serving.terminationGracePeriod"]),
    # service
    "an unknown type of service": (_spec(service={"type": "ExternalName"}), ["spec.service.type", '"NodePort"']),
    "a service annotation of ours": (_spec(service={"annotations": {"clipmodel.dev/x": "y"}}), ["spec.service.annotations", "the operator's own"]),
    "a service annotation that is none": (_spec(service={"annotations": {"-": "y"}}), ["spec.service.annotations", "- is no key"]),
    "ports, which are fixed": (_spec(service={"ports": []}), ['unknown field "spec.service.ports"']),
}  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 60


def test_what_they_are_made_of_is_admitted(shared_namespace: Namespace) -> None:
    shared_namespace.kubectl.create(VALID, dry_run=True)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_field_s_name(case: str, shared_namespace: Namespace) -> None:
    obj, says = REFUSED[case]
    with pytest.raises(ApiError) as refused:
        shared_namespace.kubectl.create(obj, dry_run=True)
    for words in says:
        assert words in str(refused.value)


def test_kubectl_shows_the_api_server_s_words(shared_namespace: Namespace) -> None:
    obj, _ = REFUSED["a preferred size beyond the largest"]
    with pytest.raises(ApiError) as refused:
        shared_namespace.kubectl.create(obj, dry_run=True)
    with pytest.raises(KubectlError) as shown:
        shared_namespace.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(obj))
    assert str(refused.value).partition(": ")[2] in str(shown.value)


CHANGES = {
    "another model name": ({"modelName": "other"}, "spec.modelName is immutable"),
    "a smaller volume": ({"storage": {"size": "512Mi"}}, "storage.size can only grow, and is 1Gi"),
    "another storage class": ({"storage": {"storageClassName": "fast"}}, "storage.storageClassName is immutable"),
    "other access modes": ({"storage": {"accessModes": ["ReadWriteMany"]}}, "storage.accessModes is immutable"),
    "somebody's claim": (
        {"storage": {"existingClaim": "mine", "size": None, "reclaimPolicy": None}},
        "storage.existingClaim is immutable",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_cannot_be_made_is_refused(case: str, shared_namespace: Namespace) -> None:
    kubectl = shared_namespace.kubectl
    kubectl.apply(clip_model("immutable", uri="http://nowhere.invalid/x.onnx", sha256="ab" * 32))
    change, says = CHANGES[case]
    with pytest.raises(ApiError) as refused:
        kubectl.patch("clip", "immutable", {"spec": change})
    assert says in str(refused.value)
