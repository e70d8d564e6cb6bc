"""What Triton says that it runs is read back as it was rendered: the inverse of how protobuf writes it, with its defaults and without."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]  # it has no types
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES, Profile
from clipmodel_operator.rendering.config_pbtxt import render_config
from clipmodel_operator.rendering.read_config import recover_config
from support.builders import build_model, build_spec
from support.strategies import specs

PARAMETER = "clipmodel.dev/config-id"


def say(config: Any, *, with_defaults: bool) -> dict[str, Any]:
    """Say a config as Triton does: parsed by its own protobuf, and written as JSON, with 64-bit numbers as texts."""
    message = json_format.ParseDict(config, model_config_pb2.ModelConfig())
    said = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=with_defaults
    )
    found: dict[str, Any] = json.loads(json.dumps(said))
    return found


@given(
    specs, st.sampled_from(SERVED_PROFILES), st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=3, unique=True)
)
def test_reading_is_the_inverse_of_what_triton_says(
    spec: dict[str, Any], profile: Profile, versions: Sequence[int]
) -> None:
    config = render_config(build_model(spec), versions=versions, profile=profile)
    for with_defaults in (False, True):
        assert recover_config(say(config, with_defaults=with_defaults)) == config
    assert recover_config(config) == config


CONFIG = render_config(
    build_model(
        build_spec(
            profile="gpu",
            batching={
                "maxQueueDelay": "0s",
                "queuePolicy": {
                    "defaultTimeout": "5s",
                    "maxQueueSize": 3,
                    "allowTimeoutOverride": True,
                    "timeoutAction": "Delay",
                },
            },
            optimization={"intraOpThreads": 2, "interOpThreads": 2, "graphLevel": "Basic"},
            instances={"count": 2, "gpus": [1, 3]},
            serving={"gpu": {"count": 4}},
        )
    ),
    versions=[1, 7],
    profile=Profile.GPU,
)


@pytest.mark.parametrize("with_defaults", [False, True])
def test_all_fields_at_once(with_defaults: bool) -> None:  # noqa: FBT001 - a row
    assert recover_config(say(CONFIG, with_defaults=with_defaults)) == CONFIG


#: What Triton adds by itself where it is asked for what it runs.
def test_what_triton_fills_in_is_left_out() -> None:
    said = say(CONFIG, with_defaults=True)
    said["instance_group"][0] |= {"name": "clip_0", "passive": False, "profile": [], "rate_limiter": None}
    said |= {"platform": "onnxruntime_onnx", "ensemble_scheduling": None, "model_warmup": [], "runtime": ""}
    assert recover_config(said) == CONFIG


EDITS: dict[str, Callable[[Any], object]] = {
    "another batch size": lambda c: c.update(max_batch_size=7),
    "another delay": lambda c: c["dynamic_batching"].update(max_queue_delay_microseconds="7"),
    "another queue": lambda c: c["dynamic_batching"]["default_queue_policy"].update(max_queue_size=7),
    "another version": lambda c: c["version_policy"]["specific"].update(versions=["7"]),
    "another GPU": lambda c: c["instance_group"][0].update(gpus=[0]),
    "another count of threads": lambda c: c["parameters"]["intra_op_thread_count"].update(string_value="7"),
    "another graph level": lambda c: c["optimization"]["graph"].update(level=1),
    "another hash": lambda c: c["parameters"][PARAMETER].update(string_value="0" * 16),
    "no hash": lambda c: c["parameters"].pop(PARAMETER),
    "no parameters": lambda c: c.pop("parameters"),
    "all versions": lambda c: c.update(version_policy={"all": {}}),
    "no instances": lambda c: c.update(instance_group=[]),
    "numbers that are none": lambda c: c.update(max_batch_size="many"),
    "a number without end": lambda c: c.update(max_batch_size=float("inf")),
    "a list where an object is": lambda c: c.update(dynamic_batching=[]),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_not_as_it_was_rendered_is_not_read(name: str) -> None:
    said = copy.deepcopy(say(CONFIG, with_defaults=False))
    EDITS[name](said)
    assert recover_config(said) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda v: st.lists(v, max_size=2), max_leaves=4
)


@given(st.sampled_from(sorted(CONFIG)), json_values)
def test_no_content_ends_in_an_error(field: str, value: Any) -> None:
    said = {**say(CONFIG, with_defaults=True), field: value}
    assert recover_config(said) in (None, CONFIG)
