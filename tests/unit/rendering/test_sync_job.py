"""The sync Job: its name says what it does, not where; its arguments are those of the contract and reach the program unchanged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from clipmodel_operator.rendering.settings import RenderSettings
from clipmodel_operator.rendering.sync_job import render_sync_job
from support import strategies
from support.builders import build_model, build_spec, build_version

ROOT = Path(__file__).resolve().parents[3]


def render(
    spec: dict[str, Any] | None = None, *, binds_volume: bool = False, node: str | None = None
) -> dict[str, Any]:
    model = build_model(spec)
    return render_sync_job(model, model.spec.versions[0], RenderSettings(), binds_volume=binds_volume, node=node)


def container(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return found


def expand(argument: str) -> str:
    """Expand references as Kubernetes does in `args`: $(NAME) of a variable that is set, and $$ for one $."""
    known = {"ORT_DISABLE_TELEMETRY": "1"}
    return re.sub(r"\$(\$|\(([^)]*)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), argument)


@given(strategies.uris)
def test_the_uri_reaches_the_program_as_it_is_written(uri: str) -> None:
    assert f"--uri={uri}" in map(expand, container(render(build_spec(build_version(uri=uri))))["args"])


@pytest.mark.parametrize(
    "uri", ["https://host/a$(ORT_DISABLE_TELEMETRY)b", "https://host/a$$b", "https://host/$$(x)", "https://host/$x"]
)
def test_a_dollar_in_a_uri_is_no_reference(uri: str) -> None:
    assert f"--uri={uri}" in map(expand, container(render(build_spec(build_version(uri=uri))))["args"])


def test_all_arguments_of_the_contract_are_given() -> None:
    usage = re.search(
        r"^    clipmodel-sync (.*?)\n\n", (ROOT / "docs/spec/sync.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert usage is not None
    expected = set(re.findall(r"--[a-z0-9-]+", usage[1]))
    assert {a.split("=")[0] for a in container(render())["args"]} == expected


def test_where_it_runs_is_not_in_its_name() -> None:
    gpu = build_spec(profile="gpu")
    one, other = render(gpu, binds_volume=True), render(gpu, node="node-7")
    assert one["metadata"]["name"] == other["metadata"]["name"]
    assert container(one)["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert "limits" not in container(other)["resources"], "only the first Job takes a GPU: to choose the volume's node"
    affinity = other["spec"]["template"]["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["node-7"]
    assert "affinity" not in one["spec"]["template"]["spec"]


def test_a_source_on_a_claim_is_mounted_read_only() -> None:
    pod = render(build_spec(build_version(uri="pvc://my.models/a/b.onnx")))["spec"]["template"]["spec"]
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "my.models", "readOnly": True}} in pod["volumes"]
    assert {"name": "source", "mountPath": "/source/my.models", "readOnly": True} in pod["containers"][0][
        "volumeMounts"
    ]
    assert "source" not in [v["name"] for v in render()["spec"]["template"]["spec"]["volumes"]]


def test_final_exit_codes_are_those_of_the_contract() -> None:
    rules = render()["spec"]["podFailurePolicy"]["rules"]
    text = (ROOT / "docs/spec/sync.md").read_text("utf-8")
    codes = re.search(r"fails the Job\s+at once on (\d+) and (\d+)", text)
    assert codes is not None
    assert rules[0]["onExitCodes"]["values"] == [int(codes[1]), int(codes[2])]
    assert rules[1]["action"] == "Ignore"


def test_the_first_job_goes_where_the_pods_may_go() -> None:
    spec = build_spec(
        profile="gpu",
        serving={"nodeSelector": {"pool": "a"}, "tolerations": [{"key": "dedicated", "operator": "Exists"}]},
    )
    pod = render(spec)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "a"}
    assert pod["tolerations"] == [
        {"key": "dedicated", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]
