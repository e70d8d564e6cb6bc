"""NAME-rollout: what is remembered of attempts is read as it was written, and whatever else stands there counts as nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models.attempt import Attempt, FailedAttempt, Phase, RolloutRecord
from clipmodel_operator.planning.failures import MAX_FAILURES
from clipmodel_operator.rendering.revision import render_revision
from clipmodel_operator.rendering.rollout_map import read_rollout, render_rollout_map
from support.builders import NOW, SHA_1, SHA_2, Object, build_model, build_spec

TARGET = render_revision(build_model(build_spec()), {1: SHA_1, 2: SHA_2})
FAILED = FailedAttempt(
    "r", "t", "s", "ServerRejected", "no", is_final=False, tries=2, not_before=NOW, version=1, sha256=SHA_1
)
FULL = RolloutRecord(Attempt(TARGET, Phase.REPLACING, 3, ("uid/containerd://1",), "b"), (FAILED,), "now")

texts = st.text(max_size=20)
#: As they are written: to the second, in UTC.
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001 - it is given one
attempts = st.builds(
    Attempt, st.just(TARGET), st.sampled_from(Phase), st.integers(1, 99), st.lists(texts, max_size=3).map(tuple), texts
)
failures = st.builds(
    FailedAttempt,
    texts,
    texts,
    texts,
    texts,
    texts,
    is_final=st.booleans(),
    tries=st.integers(1, 99),
    not_before=st.none() | times,
    version=st.none() | st.integers(1, 99),
    sha256=st.none() | texts,
)
records = st.builds(RolloutRecord, st.none() | attempts, st.lists(failures, max_size=3).map(tuple), texts)


def render(record: RolloutRecord) -> Object:
    rendered: Object = json.loads(json.dumps(render_rollout_map(build_model(), record)))
    return rendered


@given(records)
def test_it_is_read_as_it_was_written(record: RolloutRecord) -> None:
    assert read_rollout(render(record)) == record
    assert render(read_rollout(render(record))) == render(record)


def test_nothing_is_remembered_at_first() -> None:
    assert read_rollout(None) == RolloutRecord()
    assert read_rollout(render(RolloutRecord())) == RolloutRecord()


def test_a_time_is_written_in_utc() -> None:
    """Status compares it with the API server's, which are in UTC; and it is one text, whatever zone the operator runs in."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    record = RolloutRecord(
        failures=(FailedAttempt("r", "t", "s", "x", "y", is_final=False, tries=1, not_before=elsewhere),)
    )
    assert '"notBefore": "2026-11-22T12:00:00+00:00"' in render(record)["data"]["rollout.json"]


def _edited(edit: Any) -> str:
    content = json.loads(render(FULL)["data"]["rollout.json"])
    edit(content)
    return json.dumps(content)


GARBAGE: dict[str, str] = {
    "no JSON": "edited by hand",
    "lists without end": "[" * 100_000,
    "tries without end": _edited(lambda c: c["failures"][0].update(tries=float("inf"))),
    "no object": "[]",
    "nothing": "null",
    "an empty object": "{}",
    "a phase that there is not": _edited(lambda c: c["attempt"].update(phase="Dreaming")),
    "a target that is not as it was written": _edited(lambda c: c["attempt"]["revision"].update(minCosine=0.1)),
    "an attempt without a target": _edited(lambda c: c["attempt"].pop("revision")),
    "no pods": _edited(lambda c: c["attempt"].update(pods=None)),
    "tries that are no number": _edited(lambda c: c["failures"][0].update(tries="many")),
    "a time that is none": _edited(lambda c: c["failures"][0].update(notBefore="soon")),
    "a time that is a number": _edited(lambda c: c["failures"][0].update(notBefore=5)),
    "a failure that is none": _edited(lambda c: c.update(failures=["no"])),
    "no word of retries": _edited(lambda c: c.pop("retry")),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_cannot_be_read_counts_as_nothing(name: str) -> None:
    assert read_rollout({"data": {"rollout.json": GARBAGE[name]}}) == RolloutRecord()


@pytest.mark.parametrize("config_map", [{}, {"data": None}, {"data": {}}, {"data": {"other": "{}"}}])
def test_a_config_map_without_it_says_nothing(config_map: Object) -> None:
    assert read_rollout(config_map) == RolloutRecord()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda v: (
        st.lists(v, max_size=2)
        | st.dictionaries(st.sampled_from(["attempt", "failures", "retry", "phase", "tries"]), v)
    ),
    max_leaves=8,
)


@given(
    json_values
    | st.fixed_dictionaries({"attempt": json_values, "failures": st.lists(json_values), "retry": json_values})
)
def test_no_content_ends_in_an_error(content: Any) -> None:
    found = read_rollout({"data": {"rollout.json": json.dumps(content)}})
    assert isinstance(found, RolloutRecord)


def test_the_longest_fits() -> None:
    """As many failures as are remembered, each as long as it can be, in a ConfigMap's 1 MiB; etcd and the API server like it much smaller."""
    longest = FailedAttempt(
        "r" * 16,
        "t" * 16,
        "s" * 16,
        "GoldenCheckFailed",
        "x" * 1000,
        is_final=False,
        tries=99,
        not_before=NOW,
        version=2**31 - 1,
        sha256="f" * 64,
    )
    digests = {n: f"{n:064x}" for n in range(1, 65)}
    target = render_revision(build_model(build_spec(batching={"maxBatchSize": 1024})), digests)
    pods = tuple(f"{'u' * 36}/containerd://{'f' * 64}" for _ in range(200))
    record = RolloutRecord(Attempt(target, Phase.SWITCHING, pods=pods), (longest,) * MAX_FAILURES)
    assert len(render(record)["data"]["rollout.json"].encode()) < 2**18
