"""Reports of sync Jobs: what was written is read again; anything else is a ValueError, never another error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models.records import SyncFailure, VersionRecord, parse_report
from support.builders import VECTORS_2, build_failure, build_record, build_report


def test_a_record_is_read_as_it_is_written() -> None:
    record = build_record(7)
    assert parse_report(json.dumps(record.to_json())) == record
    assert parse_report(build_report(7)) == record


def test_the_sync_programs_own_reports_are_understood() -> None:
    report = pytest.importorskip("clipmodel_sync.report")
    from clipmodel_sync.errors import Reason

    reasons = {reason.value for reason in Reason}
    assert {"DigestMismatch", "Interrupted", "InternalError"} <= reasons
    assert report is not None


def test_spaces_are_told_apart_by_their_vectors() -> None:
    assert build_record(1).embedding_space_id == build_record(2, sha256="2" * 64).embedding_space_id
    assert build_record(1).embedding_space_id != build_record(1, vectors=VECTORS_2).embedding_space_id


@pytest.mark.parametrize(("result", "is_final"), [("Failed", True), ("Retry", False)])
def test_failures(result: str, is_final: bool) -> None:
    found = parse_report(build_failure("DigestMismatch", result=result, message="m" * 300))
    assert found == SyncFailure(version=1, is_final=is_final, reason="DigestMismatch", message="m" * 256)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"golden": {"images": "clipmodel-golden-v2", "vectors": ["AAA="]}}, id="other golden images"),
        pytest.param({"golden": {"images": "clipmodel-golden-v1", "vectors": []}}, id="no vector: nothing could be proven"),
        pytest.param({"golden": {"images": "clipmodel-golden-v1", "vectors": ["?"]}}, id="a vector that is none"),
        pytest.param({"golden": None}, id="no golden part"),
        pytest.param({"bytes": "many"}, id="no number of bytes"),
        pytest.param({"bytes": float("inf")}, id="endless bytes"),
        pytest.param({"result": "Synched", "reason": None}, id="another result"),
    ],
)
def test_a_broken_report_is_refused(broken: dict[str, object]) -> None:
    report = json.loads(build_report()) | broken
    if "reason" in broken:
        report.pop("reason")
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs
        parse_report(json.dumps(report))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(["images", "vectors", "x"]), v, max_size=3),
)
fields = st.fixed_dictionaries(
    {"result": st.sampled_from(["Synced", "Failed", "Retry", 5])},
    optional={k: json_values for k in ("version", "sha256", "bytes", "signature", "golden", "reason", "message")},
)


@given((fields | json_values).map(json.dumps) | st.text(max_size=30))
def test_any_text_is_a_report_or_a_value_error(text: str) -> None:
    try:
        found = parse_report(text)
    except ValueError:
        return
    if isinstance(found, VersionRecord):
        assert found.vectors
    else:
        assert len(found.message) <= 256
        assert len(found.reason) <= 64, "status has no room for more"
