"""The demo's own decisions; that it works is shown by running it."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT))  # the demo is run from the checkout, and is no part of the distribution

from demo import cluster, command, install, model, model_server, sample, settings  # noqa: E402
from demo.console import Narrator  # noqa: E402
from demo.errors import DemoError  # noqa: E402
from rich.console import Console  # noqa: E402

IMAGES = {
    "CLIPMODEL_OPERATOR_IMAGE": "clipmodel-operator:dev-1",
    "CLIPMODEL_SYNC_IMAGE": "clipmodel-sync:dev-2",
    "CLIPMODEL_TRITON_IMAGE": "clipmodel-triton-light:dev-3",
    "CLIPMODEL_MODEL_SERVER_IMAGE": "clipmodel-model-server:dev-4",
}


def resource(*conditions: dict[str, str], generation: int = 1, observed: int = 1) -> dict[str, Any]:
    status = {"observedGeneration": observed, "conditions": list(conditions)}
    return {"metadata": {"generation": generation}, "status": status}


def condition(kind: str, status: str, message: str = "m") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "R", "message": message}


def test_image_names_are_read_from_the_scripts_lines() -> None:
    output = "noise\n" + "\n".join(f"{name}={image}" for name, image in IMAGES.items())
    assert cluster.parse_images(output) == IMAGES


def test_a_missing_image_name_is_named() -> None:
    with pytest.raises(DemoError, match="CLIPMODEL_SYNC_IMAGE"):
        cluster.parse_images("CLIPMODEL_OPERATOR_IMAGE=a:b")


def test_the_overlay_puts_in_all_three_images() -> None:
    overlay = install.render_overlay(IMAGES, base="../../manifests/demo")
    patch = json.loads(overlay["patches"][0]["patch"])
    container = patch["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "clipmodel-operator:dev-1"
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {
        "CLIPMODEL_SYNC_IMAGE": "clipmodel-sync:dev-2",
        "CLIPMODEL_TRITON_IMAGE": "clipmodel-triton-light:dev-3",
    }


def test_the_patch_names_what_the_manifests_have() -> None:
    deployment = yaml.safe_load((ROOT / "manifests" / "operator" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["metadata"]["name"] == settings.OPERATOR
    assert deployment["metadata"]["namespace"] == settings.SYSTEM_NAMESPACE
    assert container["name"] == "operator"
    assert {"CLIPMODEL_SYNC_IMAGE", "CLIPMODEL_TRITON_IMAGE"} <= {entry["name"] for entry in container["env"]}


def test_the_sample_gets_the_real_digest_and_nothing_else_changes() -> None:
    text = settings.SAMPLE.read_text()
    rendered = sample.render_sample(text, sha256="ab" * 32)
    assert rendered["metadata"] == {"name": "openclip-vit-b32", "namespace": "clipmodel-demo"}
    (version,) = rendered["spec"]["versions"]
    assert version["source"]["sha256"] == "ab" * 32
    original = yaml.safe_load(text)
    assert version["source"]["uri"] == original["spec"]["versions"][0]["source"]["uri"]
    assert {**rendered["spec"], "versions": []} == {**original["spec"], "versions": []}


def test_the_model_server_fits_a_restricted_namespace() -> None:
    deployment, service = model_server.render_objects("clipmodel-model-server:dev-4")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_each_change_of_a_condition_is_told_once() -> None:
    progress = sample.Progress()
    waiting = resource(condition("Ready", "Unknown", "loading"))
    assert progress.update(waiting) == ["Ready=Unknown R: loading"]
    assert progress.update(waiting) == []
    assert not progress.ready
    assert progress.update(resource(condition("Ready", "True", "serves"))) == ["Ready=True R: serves"]
    assert progress.ready


def test_readiness_of_an_earlier_spec_is_not_readiness() -> None:
    progress = sample.Progress()
    progress.update(resource(condition("Ready", "True"), generation=2, observed=1))
    assert not progress.ready
    progress.update(resource(condition("Ready", "True"), generation=2, observed=2))
    assert progress.ready


def test_a_stalled_resource_ends_the_wait_with_its_message() -> None:
    progress = sample.Progress()
    progress.update(resource(condition("Stalled", "True", "wrong sha256")))
    assert progress.stalled == "wrong sha256"


def test_a_condition_that_is_gone_is_not_remembered() -> None:
    progress = sample.Progress()
    progress.update(resource(condition("Stalled", "True")))
    progress.update(resource(condition("Ready", "Unknown")))
    assert progress.stalled == ""


def test_a_resource_without_status_is_waited_for() -> None:
    progress = sample.Progress()
    assert progress.update({"metadata": {"generation": 1}}) == []
    assert not progress.ready
    assert not progress.stalled


def test_lines_carry_the_time_and_no_colour_where_nobody_watches() -> None:
    output = io.StringIO()
    narrator = Narrator(Console(file=output, highlight=False))
    with narrator.step("images"):
        narrator.detail("[bold] is no markup")
    assert [line.partition("] ")[2] for line in output.getvalue().splitlines()] == ["images", "  [bold] is no markup"]
    assert "\x1b" not in output.getvalue()


def test_a_failure_is_told_with_its_last_words_before_and_the_advice_after() -> None:
    file = io.StringIO()
    Narrator(Console(file=file, width=200)).fail(DemoError("it broke", advice="look there", details="last words"))
    first, second, third = file.getvalue().splitlines()
    assert (first, third) == ("last words", "look there")
    assert second.endswith("] it broke")


@pytest.mark.parametrize(
    ("reachable", "codes", "is_random"), [(True, [10], False), (True, [11, 10], True), (False, [10], True)]
)
def test_the_export_that_failed_is_the_one_to_try_by_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, reachable: bool, codes: list[int], is_random: bool
) -> None:
    monkeypatch.setattr(settings, "WORK", tmp_path)
    monkeypatch.setattr(settings, "MODEL", tmp_path / "model.onnx")
    monkeypatch.setattr(model, "check_reachable", lambda *_, **__: None if reachable else "no answer")
    # In the exporter's place a program with its exit codes: the real one takes minutes.
    run, left = command.run_in_foreground, iter(codes)
    monkeypatch.setattr(
        command, "run_in_foreground", lambda _: run([sys.executable, "-c", f"raise SystemExit({next(left)})"])
    )
    with pytest.raises(DemoError, match="exit code 10") as failed:
        model.export(Narrator(Console(file=io.StringIO())), random_weights=False)
    assert ("--random-weights" in failed.value.advice) == is_random


def test_output_and_lines_of_a_child_are_kept_apart() -> None:
    told: list[str] = []
    script = "import sys; print('[3s] up.sh: creating', file=sys.stderr); print('/path')"
    assert command.run_with_lines([sys.executable, "-c", script], tell=told.append) == "/path\n"
    assert told == ["up.sh: creating"]


def test_a_failing_child_is_named_with_its_last_words_and_the_command() -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('the disk is full')"]
    for run in (command.run, lambda words: command.run_with_lines(words, tell=lambda _: None)):
        with pytest.raises(DemoError, match="failed: the disk is full") as caught:
            run(failing)
        assert "sys.exit" in caught.value.advice


def test_a_missing_program_is_named() -> None:
    with pytest.raises(DemoError, match="no-such-program was not found"):
        command.run(["no-such-program"])


def test_help_works_from_the_checkout() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Safe to run again" in done.stdout
