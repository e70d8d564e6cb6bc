"""Whatever the CRD admits can be rendered: to the same bytes each time, to a config that Triton parses, to objects that the API server takes."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # it has no types
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.assessment.drift import holds
from clipmodel_operator.models.errors import ClipModelError
from clipmodel_operator.offline import load_clip_model, render_objects
from clipmodel_operator.rendering.canonical import canonical_json, with_hash
from clipmodel_operator.rendering.config_pbtxt import render_config, render_config_pbtxt
from clipmodel_operator.rendering.settings import RenderSettings
from support import strategies
from support.builders import build_model
from support.server_side_apply import canonicalise, merge

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
SETTINGS = RenderSettings()


@st.composite
def models(draw: st.DrawFn) -> ClipModel:
    return build_model(draw(strategies.specs), name=draw(strategies.names))


def _shuffled(value: Any) -> Any:
    """Give the same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        return {k: _shuffled(v) for k, v in reversed(value.items())}
    return [_shuffled(v) for v in value] if isinstance(value, list) else value


@given(strategies.specs, strategies.names)
def test_the_same_spec_gives_the_same_bytes(spec: dict[str, Any], name: str) -> None:
    one = render_objects(build_model(spec, name=name), SETTINGS)
    other = render_objects(build_model(_shuffled(copy.deepcopy(spec)), name=name), SETTINGS)
    assert canonical_json([with_hash(o) for o in one]) == canonical_json([with_hash(o) for o in other])


@given(models())
def test_triton_parses_the_config_and_reads_what_the_spec_says(model: ClipModel) -> None:
    versions = sorted(v.version for v in model.spec.versions)
    config = text_format.Parse(render_config_pbtxt(model, versions=versions), model_config_pb2.ModelConfig())
    batching = model.spec.batching
    assert config.name == model.model_name
    assert config.max_batch_size == batching.max_batch_size
    assert list(config.version_policy.specific.versions) == versions
    sizes = list(config.dynamic_batching.preferred_batch_size)
    assert sizes == sorted(sizes)
    assert sizes
    assert max(sizes) <= config.max_batch_size, "Triton refuses a preferred size above the largest"
    assert config.dynamic_batching.max_queue_delay_microseconds == batching.max_queue_delay_us
    (group,) = config.instance_group
    is_gpu = model.spec.profile == "gpu"
    assert group.count == model.spec.instances.count
    assert group.kind == (group.KIND_GPU if is_gpu else group.KIND_CPU)
    assert list(group.gpus) == ([0] if is_gpu else [])
    assert config.optimization.cuda.graphs == is_gpu
    # What a restarted pod reads, and what a running one is told: one config.
    told = render_config(model, versions=versions, profile=model.spec.profile)
    assert json_format.ParseDict(told, model_config_pb2.ModelConfig()) == config


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for v in value.values() for s in _strings(v)]
    if isinstance(value, list):
        return [s for v in value for s in _strings(v)]
    return [value] if isinstance(value, str) else []


def _has_none(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_none, value.values()))
    return any(map(_has_none, value)) if isinstance(value, list) else value is None


@given(models())
def test_objects_are_legal(model: ClipModel) -> None:
    objects = render_objects(model, SETTINGS)
    kinds = [o["kind"] for o in objects]
    claims = [] if model.spec.storage.existing_claim else ["PersistentVolumeClaim"]
    assert kinds == [*claims, *["Job"] * len(model.spec.versions), "ConfigMap", "Secret", "Service", "Deployment"]
    for obj in objects:
        name, labels = obj["metadata"]["name"], obj["metadata"]["labels"]
        # A Secret's name is a DNS subdomain, and nothing is named after it: 50 characters of the model make it 67.
        assert LABEL.fullmatch(name) or (obj["kind"] == "Secret" and len(name) <= 253), name
        assert all(LABEL_VALUE.fullmatch(v) for v in labels.values())
        assert not _has_none(obj), "null would be owned, and cleared, by server-side apply"
        json.dumps(obj)
    job, *_, config_map, secret, service, deployment = objects[len(claims) :]
    claim = objects[0]["metadata"]["name"] if claims else model.spec.storage.existing_claim
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert len(json.dumps(config_map)) < 1_000_000, "a ConfigMap holds 1 MiB"
    # What is rendered together fits together.
    texts = _strings(template)
    assert {claim, config_map["metadata"]["name"], secret["metadata"]["name"]} <= set(texts)
    assert claim in _strings(job["spec"])
    for pod in (template["spec"], job["spec"]["template"]["spec"]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"name": "ORT_DISABLE_TELEMETRY", "value": "1"} in container["env"]
            assert {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"} in container["env"]
            mounted = [m["name"] for m in container["volumeMounts"]]
            assert set(mounted) == {v["name"] for v in pod["volumes"]}
    assert secret["stringData"]["key"] not in " ".join(texts), "the key itself is nowhere but in the Secret"


@given(models())
def test_what_is_applied_holds_itself_after_the_api_server_wrote_it_its_own_way(model: ClipModel) -> None:
    for manifest in map(with_hash, render_objects(model, SETTINGS)):
        stored = canonicalise(json.loads(json.dumps(manifest)))
        assert holds(stored, manifest), manifest["kind"]
        defaulted = merge(stored, {"metadata": {"annotations": {"of": "others"}}, "status": {"phase": "Bound"}}, None)
        assert holds(defaulted, manifest)


@given(strategies.specs, st.sampled_from(["uri", "sha256", "version"]))
def test_another_source_is_another_job(spec: dict[str, Any], field: str) -> None:
    spec = {k: v for k, v in spec.items() if k != "versionPolicy"}
    changed = copy.deepcopy(spec)
    version = max(changed["versions"], key=lambda v: v["version"])
    if version["version"] == 2_147_483_647:
        return
    match field:
        case "uri":
            version["source"]["uri"] = "https://elsewhere.example.com/other.onnx"
        case "sha256":
            version["source"]["sha256"] = "0123456789abcdef" * 4
        case _:
            version["version"] += 1
    jobs = [
        next(o for o in render_objects(build_model(s), SETTINGS) if o["kind"] == "Job")["metadata"]["name"]
        for s in (spec, changed)
    ]
    assert jobs[0] != jobs[1]


@given(st.text(max_size=200))
def test_any_text_is_a_clip_model_or_a_clean_error(text: str) -> None:
    with contextlib.suppress(ClipModelError):
        load_clip_model(text)
