"""A config as text: written from the config alone, so that what is committed is written the same whatever the spec says by now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES, Profile
from clipmodel_operator.assessment.rollout import choose
from clipmodel_operator.offline import load_clip_model
from clipmodel_operator.planning.profile import with_profile
from clipmodel_operator.rendering.config_pbtxt import (
    config_id,
    hash_config,
    render_config,
    render_config_pbtxt,
    write_config_pbtxt,
)
from clipmodel_operator.rendering.read_pbtxt import read_config_pbtxt
from support.builders import build_model
from support.strategies import specs

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(p.parent.name for p in GOLDEN.glob("*/input.yaml"))
CHOSEN = {"auto-cpu": Profile.CPU, "auto-gpu": Profile.GPU}
PROFILES = st.sampled_from(SERVED_PROFILES)
VERSIONS = st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=3, unique=True)


def _other_way_round(value: Any) -> Any:
    """Give the same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        return {k: _other_way_round(value[k]) for k in reversed(value)}
    return [_other_way_round(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES)
def test_a_config_is_written_as_it_was_rendered(case: str) -> None:
    model = load_clip_model((GOLDEN / case / "input.yaml").read_text("utf-8"))
    model = with_profile(model, CHOSEN.get(case, model.spec.profile))
    versions = choose(model.spec.version_policy, [v.version for v in model.spec.versions])
    config = render_config(model, versions=versions, profile=model.spec.profile)
    text = (GOLDEN / case / "expected/config.pbtxt").read_text("utf-8")
    assert write_config_pbtxt(config, profile=model.spec.profile.value) == text
    assert read_config_pbtxt(text) == config


@given(specs, PROFILES, VERSIONS)
def test_reading_is_the_inverse_of_writing(spec: dict[str, Any], profile: Profile, versions: Sequence[int]) -> None:
    config = render_config(build_model(spec), versions=versions, profile=profile)
    text = write_config_pbtxt(config, profile=profile.value)
    assert read_config_pbtxt(text) == config
    assert write_config_pbtxt(read_config_pbtxt(text), profile=profile.value) == text


@given(specs, PROFILES)
def test_the_order_of_keys_does_not_matter(spec: dict[str, Any], profile: Profile) -> None:
    """What was read back from the ledger has its keys in another order; a text that changed with it would be news in every pass after a commit."""
    config = render_config(build_model(spec), versions=[1], profile=profile)
    other = _other_way_round(config)
    assert write_config_pbtxt(other, profile=profile.value) == write_config_pbtxt(config, profile=profile.value)
    assert hash_config(other) == hash_config(config) == config_id(config)


def test_a_config_without_versions_is_never_made() -> None:
    with pytest.raises(ValueError, match="serve none"):
        render_config_pbtxt(build_model(), versions=[])
