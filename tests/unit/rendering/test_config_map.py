"""The commit: what is written is read again, and nothing that was edited by hand is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clipmodel_operator.models.spaces import EmbeddingSpace
from clipmodel_operator.rendering.config_map import Committed, read_committed, render_config_map
from clipmodel_operator.rendering.config_pbtxt import render_config_pbtxt
from support.builders import SHA_2, VECTORS_2, build_model, build_record, build_spec

ONE, TWO = build_record(1), build_record(2, sha256=SHA_2, vectors=VECTORS_2)
COMMITTED = Committed((1,), (ONE, TWO), (EmbeddingSpace(ONE.vectors),))


def test_what_is_committed_is_read_as_it_was_written() -> None:
    assert read_committed(render_config_map(build_model(), COMMITTED)) == COMMITTED
    assert read_committed(None) == Committed()


def test_the_probe_proves_what_serves_and_nothing_else() -> None:
    data = render_config_map(build_model(), COMMITTED)["data"]
    assert set(json.loads(data["versions.json"])["versions"]) == {"1"}
    assert set(json.loads(data["records.json"])["versions"]) == {"1", "2"}


def _forge(key: str) -> Any:
    return lambda data: data.update({key: data[key].replace(ONE.sha256, "3" * 64)})


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(_forge("records.json"), id="another digest"),
        pytest.param(_forge("versions.json"), id="another digest of what serves"),
        pytest.param(lambda data: data.update({"records.json": "{}"}), id="nothing in it"),
        pytest.param(lambda data: data.update({"versions.json": "no JSON"}), id="no JSON"),
        pytest.param(lambda data: data.pop("versions.json"), id="no versions"),
        pytest.param(lambda data: data.pop("records.json"), id="no records"),
        pytest.param(lambda data: data.clear(), id="no data"),
    ],
)
def test_what_was_edited_by_hand_is_not_read(edit: Any) -> None:
    config_map = json.loads(json.dumps(render_config_map(build_model(), COMMITTED)))
    edit(config_map["data"])
    assert read_committed(config_map) == Committed()


def test_without_annotations_nothing_is_read() -> None:
    config_map = render_config_map(build_model(), COMMITTED)
    config_map["metadata"].pop("annotations")
    assert read_committed(config_map) == Committed()


def test_both_profiles_configs_are_there_for_pods_of_either() -> None:
    data = render_config_map(build_model(), COMMITTED)["data"]
    assert "KIND_CPU" in data["cpu.pbtxt"]
    assert "KIND_GPU" in data["gpu.pbtxt"]


def test_records_outlive_a_change_of_everything_else() -> None:
    changed = build_model(build_spec(profile="gpu", batching={"maxBatchSize": 8}))
    assert read_committed(render_config_map(changed, COMMITTED)) == COMMITTED


def test_a_config_without_versions_is_never_made() -> None:
    with pytest.raises(ValueError, match="serve none"):
        render_config_pbtxt(build_model(), versions=[])
