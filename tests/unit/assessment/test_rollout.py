"""Which versions should serve: what the policy chooses, as soon as all of it can; until then what is committed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.api.v1alpha1.spec import VersionPolicy
from clipmodel_operator.assessment.rollout import check_space, choose, plan_target
from clipmodel_operator.models.spaces import EmbeddingSpace, find_space, with_spaces
from support.builders import (
    ONE,
    OTHER,
    SHA_2,
    SHA_OTHER,
    VECTORS_2,
    VECTORS_OTHER,
    build_model,
    build_record,
    build_spec,
)


def policy(**fields: Any) -> VersionPolicy:
    return VersionPolicy.model_validate(fields)


@pytest.mark.parametrize(
    ("chosen_by", "versions", "chosen"),
    [
        ({}, (1, 3, 2), (3,)),
        ({"latest": {}}, (1, 3, 2), (3,)),
        ({"latest": {"count": 2}}, (1, 3, 2), (2, 3)),
        ({"latest": {"count": 9}}, (1, 3, 2), (1, 2, 3)),
        ({"all": {}}, (1, 3, 2), (1, 2, 3)),
        ({"specific": {"versions": [3, 1]}}, (1, 3, 2), (1, 3)),
        ({"specific": {"versions": [3, 4]}}, (1, 3, 2), (3,)),
    ],
)
def test_policies(chosen_by: dict[str, Any], versions: tuple[int, ...], chosen: tuple[int, ...]) -> None:
    assert choose(policy(**chosen_by), versions) == chosen


@pytest.mark.parametrize(
    ("given", "target"),
    [
        pytest.param({"versions": (1,), "usable": (), "committed": ()}, (), id="nothing is usable"),
        pytest.param({"versions": (1,), "usable": (1,), "committed": ()}, (1,), id="the first one is usable"),
        pytest.param(
            {"versions": (1, 2), "usable": (1,), "committed": ()},
            (1,),
            id="the best that there is, where nothing serves",
        ),
        pytest.param({"versions": (1, 2), "usable": (1,), "committed": (1,)}, (1,), id="version 2 is not usable yet"),
        pytest.param({"versions": (1, 2), "usable": (1, 2), "committed": (1,)}, (2,), id="version 2 is"),
        pytest.param(
            {"versions": (2,), "usable": (), "committed": (1,)}, (1,), id="version 1 left the spec, and serves on"
        ),
        pytest.param({"versions": (2,), "usable": (2,), "committed": (1,)}, (2,), id="and now it goes"),
    ],
)
def test_targets(given: dict[str, Any], target: tuple[int, ...]) -> None:
    found = plan_target(policy(), **given)
    assert found.versions == target
    assert found.is_complete == (found.chosen == target)


numbers = st.lists(st.integers(1, 6), unique=True, max_size=5)


@given(numbers.filter(bool), numbers, numbers, st.integers(1, 4))
def test_nothing_is_taken_away_before_all_that_is_chosen_can_serve(
    versions: list[int], usable: list[int], committed: list[int], count: int
) -> None:
    usable = [v for v in usable if v in versions]
    found = plan_target(policy(latest={"count": count}), versions=versions, usable=usable, committed=committed)
    assert set(found.versions) <= {*usable, *committed}
    if not found.is_complete:
        assert set(committed) <= set(found.versions)
    if usable or committed:
        assert found.versions or found.chosen == ()


SPACES = (EmbeddingSpace(build_record().vectors),)


def check(*versions: dict[str, Any], record: Any, serving: Any, **fields: Any) -> Any:
    return check_space(
        build_model(build_spec(*versions, **fields)),
        record,
        spaces=with_spaces([*serving, record], SPACES, min_cosine=0.9999),
        serving=serving,
    )


FAR = build_record(3, sha256=SHA_OTHER, vectors=VECTORS_OTHER)
NEAR = build_record(2, sha256=SHA_2, vectors=VECTORS_2)


def test_the_space_gate() -> None:
    assert check(ONE, record=NEAR, serving=[build_record()]) is None
    assert check(ONE, OTHER, record=FAR, serving=[]) is None, "nothing serves: nothing to compare with"
    refused = check(ONE, OTHER, record=FAR, serving=[build_record()])
    assert refused is not None
    assert refused.is_final
    assert "newEmbeddingSpace: true on version 3" in refused.message
    assert check(ONE, {**OTHER, "newEmbeddingSpace": True}, record=FAR, serving=[build_record()]) is None
    assert check(ONE, {**OTHER, "newEmbeddingSpace": True}, record=build_record(), serving=[FAR]) is None, "and back"
    assert check({**ONE, "newEmbeddingSpace": True}, OTHER, record=FAR, serving=[build_record()]) is not None, (
        "another version's line"
    )
    assert check(ONE, OTHER, record=FAR, serving=[build_record()], verification={"embeddingSpace": "Unlocked"}) is None


def test_spaces_are_anchored_and_do_not_drift() -> None:
    """Each step is within tolerance of the step before; the last one is not within tolerance of the anchor."""
    steps = [
        build_record(
            n, vectors=((1.0, 0.0), (0.0, 1.0)) if n == 1 else ((1.0, 0.012 * (n - 1)), (0.012 * (1 - n), 1.0))
        )
        for n in range(1, 5)
    ]
    spaces = with_spaces(steps, (), min_cosine=0.9999)
    assert len(spaces) > 1
    found = find_space(steps[1], spaces, min_cosine=0.9999)
    assert found is not None
    assert found.vectors == steps[0].vectors
