"""Reports of sync Jobs: they fit into a termination message, what was written is read again, and anything else is a ReportError, never another error."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract import golden
from clipmodel_contract.reasons import SyncReason
from clipmodel_contract.report import (
    MAX_BYTES,
    MAX_DIMENSION,
    MAX_TENSOR_NAME,
    Failure,
    ReportError,
    VersionRecord,
    canonical_signature,
    parse_report,
    render_report,
)
from clipmodel_contract.tensors import Tensors
from support.builders import SHA_1, VECTORS_1, build_failure, build_record, build_report


def test_a_record_is_read_as_it_is_written() -> None:
    record = build_record(7)
    assert parse_report(json.dumps(record.to_json())) == record
    assert parse_report(build_report(7)) == record


def render(dimension: int, *, name: str = "embedding") -> str:
    values = range(2 * dimension)
    tensors = Tensors(input_name=name, image_size=4096, output_name=name, dimension=dimension)
    return render_report(
        VersionRecord(
            version=2**31 - 1,
            sha256="f" * 64,
            size_bytes=10**15,
            signature=canonical_signature(tensors.to_signature()),
            vectors=(golden.encode_vector(values[:dimension]), golden.encode_vector(values[dimension:])),
        )
    )


def test_a_report_is_what_the_page_shows() -> None:
    vectors = tuple(golden.encode_vector(v) for v in VECTORS_1)
    signature = canonical_signature(Tensors(dimension=512).to_signature())
    text = render_report(VersionRecord(1, SHA_1, 351_461_235, signature, vectors))
    assert json.loads(text) == json.loads(build_report(1))
    assert parse_report(text) == build_record(1)


@pytest.mark.parametrize(("dimension", "count"), [(1, 2), (512, 2), (640, 2), (768, 1), (1024, 1), (1280, 1)])
def test_two_vectors_where_they_fit_else_one(dimension: int, count: int) -> None:
    report = json.loads(render(dimension))
    assert len(report["golden"]["vectors"]) == count
    first = np.frombuffer(base64.b64decode(report["golden"]["vectors"][0]), "<f2")
    assert first.tolist() == list(range(dimension))


@given(dimension=st.integers(1, MAX_DIMENSION), length=st.integers(1, MAX_TENSOR_NAME))
def test_every_success_that_the_arguments_allow_fits(dimension: int, length: int) -> None:
    # A quotation mark and a backslash take two characters each in JSON.
    assert len(render(dimension, name='"' * length).encode()) <= MAX_BYTES


def test_a_record_that_no_report_can_hold_is_refused() -> None:
    with pytest.raises(ReportError):
        render(MAX_DIMENSION + 500)
    with pytest.raises(ReportError):
        render_report(build_record(vectors=()))


def test_a_success_is_read_again() -> None:
    record = parse_report(render(512))
    assert isinstance(record, VersionRecord)
    assert (record.version, record.sha256, record.size_bytes) == (2**31 - 1, "f" * 64, 10**15)
    assert [golden.decode_vector(v) for v in record.vectors] == [tuple(range(512)), tuple(range(512, 1024))]


@given(message=st.text(max_size=2000), reason=st.sampled_from(SyncReason))
def test_every_failure_fits_and_is_one_line(message: str, reason: SyncReason) -> None:
    text = render_report(Failure(reason, message, is_final=reason.is_final, version=3))
    assert len(text.encode()) <= MAX_BYTES
    read = json.loads(text)
    assert len(read["message"]) <= 256
    assert read["message"].isprintable()
    assert parse_report(text) == Failure(reason, read["message"], is_final=reason.is_final, version=3)


def test_a_failure_of_no_known_version() -> None:
    text = render_report(Failure("InvalidArguments", "what to do", is_final=True))
    assert json.loads(text) == {
        "version": 0,
        "result": "Failed",
        "reason": "InvalidArguments",
        "message": "what to do",
    }


@pytest.mark.parametrize(("result", "is_final"), [("Failed", True), ("Retry", False)])
def test_failures(result: str, *, is_final: bool) -> None:
    found = parse_report(build_failure("DigestMismatch", result=result, message="m" * 300))
    assert found == Failure("DigestMismatch", "m" * 255 + "…", is_final=is_final, version=1)


def test_a_reason_that_status_has_no_room_for_is_cut() -> None:
    found = parse_report(build_failure("R" * 70))
    assert found == Failure("R" * 64, "it went wrong, mend it", is_final=True, version=1)


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
    with pytest.raises(ReportError):
        parse_report(json.dumps(report))


def test_a_text_that_nests_too_deep_is_refused() -> None:
    with pytest.raises(ReportError):
        parse_report("[" * MAX_BYTES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(["images", "vectors", "x"]), v, max_size=3),
)
fields = st.fixed_dictionaries(
    {"result": st.sampled_from(["Synced", "Failed", "Retry", 5])},
    optional=dict.fromkeys(("version", "sha256", "bytes", "signature", "golden", "reason", "message"), json_values),
)


@given((fields | json_values).map(json.dumps) | st.text(max_size=30))
def test_any_text_is_a_report_or_refused(text: str) -> None:
    try:
        found = parse_report(text)
    except ReportError:
        return
    if isinstance(found, VersionRecord):
        assert found.vectors
    else:
        assert len(found.message) <= 256
        assert len(found.reason) <= 64, "status has no room for more"


def test_what_status_cannot_hold_is_left_out_of_a_failure() -> None:
    """Half of a surrogate pair is JSON, and no text; line ends would break a condition's message."""
    found = parse_report(
        '{"version": 1, "result": "Retry", "reason": "Volume\\u0000Full", "message": "half \\ud800 a\\npair"}'
    )
    assert isinstance(found, Failure)
    assert (found.reason, found.message) == ("Volume Full", "half a pair")
    found.message.encode()
