"""A revision: what it is made of, what makes it another one, and that one which was edited is none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.rendering.config_pbtxt import config_id, hash_config, render_config
from clipmodel_operator.rendering.revision import (
    RevisionError,
    build_revision,
    candidate_config,
    config_of_version,
    read_revision,
    render_revision,
    revision_to_json,
)
from support.builders import ONE, SHA_1, SHA_2, SHA_OTHER, TWO, Object, build_model, build_spec
from support.strategies import specs

DIGESTS = {1: SHA_1, 2: SHA_2}


def revision(**fields: Any) -> Revision:
    return render_revision(build_model(build_spec(ONE, TWO, **fields)), DIGESTS)


BASE = revision()

#: Fields of a spec -> whether they make another revision, and other settings of it.
FIELDS: dict[str, tuple[Object, bool, bool]] = {
    "batching": ({"batching": {"maxQueueDelay": "1ms"}}, True, True),
    "instances": ({"instances": {"count": 2}}, True, True),
    "optimization": ({"optimization": {"intraOpThreads": 2}}, True, True),
    "the tolerance": ({"verification": {"tolerance": "0.99999"}}, True, True),
    "the model's name": ({"modelName": "pictures"}, True, True),
    "the profile: both are in it": ({"profile": "gpu"}, False, False),
    "which versions the policy chooses: they are given": ({"versionPolicy": {"all": {}}}, False, False),
    "replicas": ({"serving": {"replicas": 3}}, False, False),
    "an image": ({"serving": {"image": "example.com/triton:2"}}, False, False),
    "the strategy": ({"rollout": {"strategy": "Replace"}}, False, False),
    "a pause": ({"paused": True}, False, False),
}


@pytest.mark.parametrize("name", FIELDS)
def test_what_makes_another_revision(name: str) -> None:
    fields, is_other, has_other_settings = FIELDS[name]
    found = revision(**fields)
    assert (found.id != BASE.id) == is_other
    assert (found.settings != BASE.settings) == has_other_settings


def test_versions_and_digests_make_another_revision_of_the_same_settings() -> None:
    one = render_revision(build_model(), {1: SHA_1})
    two = render_revision(build_model(), {2: SHA_2})
    other_bytes = render_revision(build_model(), {1: SHA_OTHER})
    assert len({r.id for r in (one, two, other_bytes)}) == 3
    assert len({r.settings for r in (one, two, other_bytes)}) == 1
    assert one.config_ids == other_bytes.config_ids, "a config says nothing of bytes"
    assert one.proof_of("cpu") != other_bytes.proof_of("cpu")


def test_a_tolerance_changes_no_config() -> None:
    strict = revision(verification={"tolerance": "0.99999"})
    assert strict.configs == BASE.configs
    assert strict.proof_of("cpu") != BASE.proof_of("cpu")


def test_its_versions_are_in_order() -> None:
    assert render_revision(build_model(), {10: SHA_1, 2: SHA_2}).versions == (2, 10)


@given(specs)
def test_any_revision_is_read_as_it_was_written(spec: Object) -> None:
    written = render_revision(build_model(spec), DIGESTS)
    assert read_revision(json.loads(json.dumps(revision_to_json(written), sort_keys=True))) == written


EDITS: dict[str, Callable[[Any], object]] = {
    "another id": lambda r: r.update(id="0" * 16),
    "no id": lambda r: r.pop("id"),
    "another tolerance": lambda r: r.update(minCosine=0.5),
    "another digest": lambda r: r["digests"].update({"1": SHA_OTHER}),
    "a version less": lambda r: r["digests"].pop("1"),
    "no version": lambda r: r.update(digests={}),
    "a profile less": lambda r: r["configs"].pop("gpu"),
    "no profile": lambda r: r.update(configs={}),
    "a field of a config": lambda r: r["configs"]["cpu"].update(max_batch_size=7),
    "a config without its hash": lambda r: r["configs"]["cpu"].update(parameters={}),
    "a config that is none": lambda r: r["configs"].update(cpu=[]),
    "a number that is none": lambda r: r.update(minCosine="high"),
    "a version that is none": lambda r: r.update(digests={"one": SHA_1}),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_was_edited_is_no_revision(name: str) -> None:
    stored = copy.deepcopy(json.loads(json.dumps(revision_to_json(BASE))))
    EDITS[name](stored)
    with pytest.raises(RevisionError):
        read_revision(stored)


def test_a_config_that_is_whole_and_of_other_versions_is_not_of_this_revision() -> None:
    config = render_config(build_model(), versions=[1], profile=Profile.CPU)
    forged = build_revision({"cpu": config}, DIGESTS, min_cosine=0.99)
    with pytest.raises(RevisionError, match="not as it was written"):
        read_revision(json.loads(json.dumps(revision_to_json(forged))))


@pytest.mark.parametrize("stored", [None, [], "text", 5, {}])
def test_what_is_no_object_is_no_revision(stored: Any) -> None:
    with pytest.raises(RevisionError):
        read_revision(stored)


def test_a_candidate_is_the_same_but_for_its_name() -> None:
    config = BASE.configs["cpu"]
    assert candidate_config(config, "clip__candidate") == {**config, "name": "clip__candidate"}


def test_a_version_alone_is_the_same_but_for_what_it_loads() -> None:
    config = BASE.configs["cpu"]
    alone = config_of_version(config, 2)
    assert alone["version_policy"] == {"specific": {"versions": [2]}}
    assert config_id(alone) == hash_config(alone)
    assert config_id(alone) == render_revision(build_model(build_spec(ONE, TWO)), {2: SHA_2}).config_ids["cpu"]
    assert {**alone, "version_policy": config["version_policy"], "parameters": config["parameters"]} == config
