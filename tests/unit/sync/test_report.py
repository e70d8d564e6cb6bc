"""A report always fits into a termination message, and the operator reads what was meant."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models.failure import Failure
from clipmodel_operator.models.records import VersionRecord, parse_report
from clipmodel_sync.errors import Reason, Result
from clipmodel_sync.report import MAX_BYTES, MAX_DIMENSION, MAX_NAME, Proof, render_failure, render_success
from clipmodel_sync.request import Contract


def render(dimension: int, *, name: str = "embedding") -> str:
    vectors = np.arange(2 * dimension, dtype=np.float32).reshape(2, dimension)
    return render_success(
        version=2**31 - 1,
        sha256="f" * 64,
        size_bytes=10**15,
        contract=Contract(input_name=name, image_size=4096, output_name=name, dimension=dimension),
        proof=Proof(vectors=vectors),
    )


@pytest.mark.parametrize(("dimension", "count"), [(1, 2), (512, 2), (640, 2), (768, 1), (1024, 1), (1280, 1)])
def test_two_vectors_where_they_fit_else_one(dimension: int, count: int) -> None:
    report = json.loads(render(dimension))
    assert len(report["golden"]["vectors"]) == count
    first = np.frombuffer(base64.b64decode(report["golden"]["vectors"][0]), "<f2")
    assert first.tolist() == list(range(dimension))


@given(dimension=st.integers(1, MAX_DIMENSION), length=st.integers(1, MAX_NAME))
def test_every_success_that_the_arguments_allow_fits(dimension: int, length: int) -> None:
    # A quotation mark and a backslash take two characters each in JSON.
    assert len(render(dimension, name='"' * length).encode()) <= MAX_BYTES


def test_the_operator_reads_a_success() -> None:
    record = parse_report(render(512))
    assert isinstance(record, VersionRecord)
    assert (record.version, record.sha256, record.size_bytes) == (2**31 - 1, "f" * 64, 10**15)
    assert len(record.vectors) == 2


@given(message=st.text(max_size=2000), reason=st.sampled_from(Reason))
def test_every_failure_fits_and_is_one_line(message: str, reason: Reason) -> None:
    text = render_failure(version=1, reason=reason, message=message)
    assert len(text.encode()) <= MAX_BYTES
    read = json.loads(text)
    assert len(read["message"]) <= 256
    assert read["message"].isprintable()
    failure = parse_report(text)
    assert isinstance(failure, Failure)
    assert failure.is_final is (reason.result is Result.FAILED)
    assert failure.reason == reason.value


def test_reasons_and_results_are_those_of_the_contract(contract_page: str) -> None:
    rows = [line.split("|") for line in contract_page.splitlines() if line.startswith("| `")]
    table = {row[1].strip(" `"): row[2].strip() for row in rows if row[2].strip() in ("Failed", "Retry")}
    ours = {reason.value: reason.result.value for reason in Reason}
    assert ours == table


@pytest.mark.parametrize("reason", Reason)
def test_exit_codes_follow_the_result(reason: Reason) -> None:
    expected = {Reason.INVALID_ARGUMENTS: 2, Reason.INTERNAL_ERROR: 1}
    by_result = {Result.FAILED: 10, Result.RETRY: 11}
    assert reason.exit_code == expected.get(reason, by_result.get(reason.result))
