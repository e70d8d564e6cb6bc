"""Golden files: what each ClipModel becomes, object by object. A difference here is a difference in every cluster after an upgrade.

`pytest tests/golden --update-golden` rewrites them; the difference is reviewed. A changed pod template restarts every model: the changelog says so.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format  # type: ignore[import-untyped]  # it has no types
from tritonclient.grpc import model_config_pb2

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.crd import render_crd
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.assessment.rollout import choose
from clipmodel_operator.offline import dump_yaml, load_clip_model, render_objects, render_offline
from clipmodel_operator.planning.profile import with_profile
from clipmodel_operator.rendering.package_files import STARTUP_PROBE
from clipmodel_operator.rendering.settings import RenderSettings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLE = ROOT / "manifests/samples/openclip-vit-b32.yaml"
CASES = sorted(p.parent.name for p in HERE.glob("*/input.yaml"))
SETTINGS = RenderSettings()
#: Texts that have golden files, or tests, of their own: repeated in every case they would hide the difference that matters.
ELSEWHERE = {
    # By its digest: a text of another spelling is another ConfigMap in every namespace.
    "probe.py": f"(rendering/probe/startup_probe.py.txt, sha256 {hashlib.sha256(STARTUP_PROBE.encode()).hexdigest()[:16]})",
    "cpu.pbtxt": "(config.pbtxt)",
    "gpu.pbtxt": "(config.pbtxt)",
}
#: What a cluster decided where the spec leaves it to it.
CHOSEN = {"auto-cpu": Profile.CPU, "auto-gpu": Profile.GPU}
#: Cases whose ConfigMap shows both configs in full: one for each way to a profile.
WHOLE = frozenset({"minimal", "gpu", *CHOSEN})


def load(case: str) -> ClipModel:
    model = load_clip_model((HERE / case / "input.yaml").read_text("utf-8"))
    return with_profile(model, CHOSEN[case]) if case in CHOSEN else model


def render(case: str) -> dict[str, str]:
    """Render a case: file name -> text."""
    text = (HERE / case / "input.yaml").read_text("utf-8")
    files: dict[str, str] = {}
    for rendered in render_objects(load(case), SETTINGS):
        obj = rendered
        if obj["kind"] == "ConfigMap":
            hidden = {k: v for k, v in ELSEWHERE.items() if not (case in WHOLE and k.endswith(".pbtxt"))}
            shown = {k: hidden.get(k, v) for k, v in obj["data"].items()}
            if case not in WHOLE:
                shown["revisions.json"] = _without_configs(shown["revisions.json"])
            obj = {**obj, "data": shown}
        kind = obj["kind"].lower()
        name = f"{kind}.yaml" if kind != "job" else f"job-v{_version_of(obj)}.yaml"
        files[name] = dump_yaml(obj)
    files["config.pbtxt"] = render_offline(text, SETTINGS, only="config", profile=CHOSEN.get(case))
    return files


def _without_configs(text: str) -> str:
    """Leave out of the revisions what config.pbtxt says as well: its hash tells of every change of it."""
    stored = json.loads(text)
    for revision in stored["revisions"]:
        revision["configs"] = {
            profile: f"(config.pbtxt, {config['parameters']['clipmodel.dev/config-id']['string_value']})"
            for profile, config in revision["configs"].items()
        }
    return json.dumps(stored, indent=1, sort_keys=True)


def _version_of(job: dict[str, object]) -> str:
    arguments = yaml.safe_load(yaml.safe_dump(job))["spec"]["template"]["spec"]["containers"][0]["args"]
    return next(str(a).split("=")[1] for a in arguments if a.startswith("--version="))


def test_there_are_cases() -> None:
    assert len(CASES) >= 8
    for folder in HERE.iterdir():
        assert folder.name in CASES or folder.name == "__pycache__" or folder.is_file(), (
            f"{folder.name} has no input.yaml"
        )


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, update_golden: bool) -> None:  # noqa: FBT001 - a fixture
    folder, rendered = HERE / case / "expected", render(case)
    if update_golden:
        folder.mkdir(exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
        for name, text in rendered.items():
            (folder / name).write_text(text, "utf-8")
        return
    advice = "If that is meant: make golden, and look at the difference."
    found = {p.name: p.read_text("utf-8") for p in folder.iterdir()} if folder.exists() else {}
    assert sorted(found) == sorted(rendered), f"{case}: other files than expected. {advice}"
    for name, text in rendered.items():
        assert text == found[name], f"{case}/{name} is rendered otherwise. {advice}"


@pytest.mark.parametrize("case", CASES)
def test_configs_say_what_the_spec_says(case: str) -> None:
    model = load(case)
    config = text_format.Parse(
        (HERE / case / "expected/config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig()
    )
    spec, batching = model.spec, model.spec.batching
    assert config.name == model.model_name
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert config.max_batch_size == batching.max_batch_size
    (image,), (embedding,) = config.input, config.output
    assert (image.name, image.data_type, list(image.dims)) == ("image", model_config_pb2.TYPE_FP32, [3, 224, 224])
    assert (embedding.name, embedding.data_type, list(embedding.dims)) == (
        "embedding",
        model_config_pb2.TYPE_FP32,
        [512],
    )
    assert list(config.version_policy.specific.versions) == list(
        choose(spec.version_policy, [v.version for v in spec.versions])
    )
    assert list(config.dynamic_batching.preferred_batch_size) == list(batching.effective_preferred_batch_sizes)
    assert max(config.dynamic_batching.preferred_batch_size) <= config.max_batch_size
    assert config.dynamic_batching.max_queue_delay_microseconds == batching.max_queue_delay_us
    assert config.dynamic_batching.preserve_ordering == batching.preserve_ordering
    assert config.dynamic_batching.priority_levels == (batching.priority_levels or 0)
    assert config.dynamic_batching.default_priority_level == (batching.default_priority_level or 0)
    queue = config.dynamic_batching.default_queue_policy
    if batching.queue_policy is not None:
        assert (
            model_config_pb2.ModelQueuePolicy.TimeoutAction.Name(queue.timeout_action)
            == batching.queue_policy.timeout_action.upper()
        )
        assert queue.default_timeout_microseconds == (batching.queue_policy.default_timeout_us or 0)
        assert queue.allow_timeout_override == batching.queue_policy.allow_timeout_override
        assert queue.max_queue_size == (batching.queue_policy.max_queue_size or 0)
    (group,) = config.instance_group
    assert group.count == spec.instances.count, "without a count, ONNX Runtime's backend would make two on a CPU"
    assert group.kind == (group.KIND_GPU if spec.profile == "gpu" else group.KIND_CPU)
    if spec.profile == "gpu":
        assert list(group.gpus) == sorted(spec.instances.gpus or [0])
    assert config.optimization.cuda.graphs == (spec.profile == "gpu")
    threads = {
        k: config.parameters[k].string_value
        for k in ("intra_op_thread_count", "inter_op_thread_count")
        if k in config.parameters
    }
    assert threads.get("intra_op_thread_count") == (
        str(spec.optimization.intra_op_threads) if spec.optimization.intra_op_threads else None
    )
    assert threads.get("inter_op_thread_count") == (
        str(spec.optimization.inter_op_threads) if spec.optimization.inter_op_threads else None
    )


def test_everything_is_everything() -> None:
    """The case `everything` sets each field of the spec that it may set beside the others."""
    spec = yaml.safe_load((HERE / "everything/input.yaml").read_text("utf-8"))["spec"]
    schema = render_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    #: Cannot be set with the others; other cases set them.
    elsewhere = {
        "existingClaim",
        "priorityLevels",
        "defaultPriorityLevel",
        "allowTimeoutOverride",
        "timeoutAction",
        "latest",
        "all",
    }
    for name, field in schema.items():
        assert name in spec, f"tests/golden/everything does not set {name}"
        for part in field.get("properties", {}).keys() - elsewhere:
            assert part in spec[name], f"tests/golden/everything does not set {name}.{part}"


def test_the_sample_is_a_case() -> None:
    assert (HERE / "sample/input.yaml").read_text("utf-8") == SAMPLE.read_text("utf-8"), (
        "copy the sample to tests/golden/sample/input.yaml"
    )


def test_the_model_repository_has_the_samples_config() -> None:
    checked_in = ROOT / "model_repository/openclip_vit_b32/config.pbtxt"
    expected = render_offline(SAMPLE.read_text("utf-8"), SETTINGS, only="config")
    assert checked_in.read_text("utf-8") == expected, (
        f"stale: clipmodel render -f {SAMPLE.relative_to(ROOT)} --only config > {checked_in.relative_to(ROOT)}"
    )


def test_profiles_share_all_but_where_they_run() -> None:
    """Same input but for the profile: what differs is named here."""
    cpu, gpu = (HERE / name / "expected/deployment.yaml" for name in ("minimal", "gpu"))
    one, other = (yaml.safe_load(p.read_text("utf-8")) for p in (cpu, gpu))
    pods = [d["spec"]["template"]["spec"] for d in (one, other)]
    assert pods[1]["containers"][0]["resources"] == {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pods[1]["tolerations"]
    assert "tolerations" not in pods[0]
    assert "--model-config-name=gpu" in pods[1]["containers"][0]["args"]


def expected(case: str, name: str) -> str:
    return (HERE / case / "expected" / name).read_text("utf-8")


@pytest.mark.parametrize(("auto", "said"), [("auto-cpu", "minimal"), ("auto-gpu", "gpu")])
def test_what_was_chosen_is_what_one_may_say(auto: str, said: str) -> None:
    """Nobody can tell from the objects who decided: to write the choice into the spec restarts nothing."""
    names = sorted(p.name for p in (HERE / said / "expected").iterdir())
    assert {n: expected(auto, n) for n in names} == {n: expected(said, n) for n in names}


def test_the_config_map_does_not_depend_on_the_profile() -> None:
    """A change of profile leaves the old pods the config that they start with, whole."""
    texts = {expected(case, "configmap.yaml") for case in WHOLE}
    assert len(texts) == 1
    data = yaml.safe_load(texts.pop())["data"]
    for profile, case, kind in (("cpu", "minimal", "KIND_CPU"), ("gpu", "gpu", "KIND_GPU")):
        assert data[f"{profile}.pbtxt"] == expected(case, "config.pbtxt")
        config = text_format.Parse(data[f"{profile}.pbtxt"], model_config_pb2.ModelConfig())
        assert [config.instance_group[0].Kind.Name(g.kind) for g in config.instance_group] == [kind]


def test_who_owns_the_volume_depends_on_the_reclaim_policy() -> None:
    claims = {
        c: yaml.safe_load((HERE / c / "expected/persistentvolumeclaim.yaml").read_text("utf-8"))
        for c in ("reclaim-retain", "reclaim-delete")
    }
    assert "ownerReferences" not in claims["reclaim-retain"]["metadata"]
    assert claims["reclaim-delete"]["metadata"]["ownerReferences"][0]["kind"] == "ClipModel"
