"""Reports of sync Jobs: what was written is read again; anything else is a ValueError, never another error."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models import golden
from clipmodel_operator.models.failure import Failure
from clipmodel_operator.models.records import VersionRecord, parse_report
from clipmodel_sync.errors import Reason, Result
from clipmodel_sync.report import Proof, render_failure, render_success
from clipmodel_sync.request import Contract
from support.builders import SHA_1, VECTORS_1, build_failure, build_record, build_report


def test_a_record_is_read_as_it_is_written() -> None:
    record = build_record(7)
    assert parse_report(json.dumps(record.to_json())) == record
    assert parse_report(build_report(7)) == record


def test_the_sync_programs_own_reports_are_understood() -> None:
    contract = Contract(input_name="image", image_size=224, output_name="embedding", dimension=4)
    vectors = np.array(VECTORS_1, np.float32)
    text = render_success(version=1, sha256=SHA_1, size_bytes=351_461_235, contract=contract, proof=Proof(vectors))
    found = parse_report(text)
    assert isinstance(found, VersionRecord)
    assert [golden.decode_vector(v) for v in found.vectors] == list(VECTORS_1)
    assert (found.version, found.sha256, found.size_bytes) == (1, SHA_1, 351_461_235)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_sync_programs_own_failures_are_understood(reason: Reason) -> None:
    found = parse_report(render_failure(version=3, reason=reason, message="what to do"))
    assert found == Failure(
        version=3, is_final=reason.result is Result.FAILED, reason=reason.value, message="what to do"
    )


@pytest.mark.parametrize(("result", "is_final"), [("Failed", True), ("Retry", False)])
def test_failures(result: str, is_final: bool) -> None:  # noqa: FBT001 - a table
    found = parse_report(build_failure("DigestMismatch", result=result, message="m" * 300))
    assert found == Failure(version=1, is_final=is_final, reason="DigestMismatch", message="m" * 256)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"golden": {"images": "clipmodel-golden-v2", "vectors": ["AAA="]}}, id="other golden images"),
        pytest.param(
            {"golden": {"images": "clipmodel-golden-v1", "vectors": []}}, id="no vector: nothing could be proven"
        ),
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
    optional=dict.fromkeys(("version", "sha256", "bytes", "signature", "golden", "reason", "message"), json_values),
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
