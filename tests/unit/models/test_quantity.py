"""Quantities and durations: what is none is a ValueError, and the API server's way of writing one is the same number."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models.quantity import DURATION_PATTERN, QUANTITY_PATTERN, parse_duration_us, parse_quantity
from support import strategies
from support.server_side_apply import canonical_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", "0"), ("1", "1"), (2, "2"), ("500m", "0.5"), ("1.5", "1.5"), ("2k", "2000"), ("1Ki", "1024"), ("1.5Gi", "1610612736"), ("3E", "3e18"), ("100n", "1e-7"), ("250u", "0.00025")],
)  # fmt: skip
def test_quantities(text: str | int, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@given(strategies.quantities)
def test_the_api_servers_way_of_writing_is_the_same_number(text: str | int) -> None:
    assert parse_quantity(canonical_quantity(text)) == parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1000", "1k"), ("0.5m", "500u"), ("512Ki", "512Ki"), ("0.5Ki", "512"), ("0", "0")],
)  # fmt: skip
def test_the_fake_api_server_writes_as_the_real_one(text: str, written: str) -> None:
    assert canonical_quantity(text) == written


@given(st.text(max_size=12) | st.from_regex(re.compile(r"[0-9.]{0,6}[A-Za-z]{0,2}\n?"), fullmatch=True))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    value, message = None, ""
    try:
        value = parse_quantity(text)
    except ValueError as error:
        message = str(error)
    if value is None:
        assert re.fullmatch(QUANTITY_PATTERN[1:-1], text) is None
        assert "write a number with a suffix" in message
    else:
        assert value >= 0


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("5ms", 5000), ("1us", 1), ("0.5us", 0), ("1.5ms", 1500), ("10s", 10_000_000), ("0ms", 0), ("0.001s", 1000)],
)
def test_durations(text: str, microseconds: int) -> None:
    assert parse_duration_us(text) == microseconds


@given(st.text(max_size=12) | st.from_regex(re.compile(r"[0-9.]{0,6}[a-z]{0,2}\n?"), fullmatch=True))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    is_duration = re.fullmatch(DURATION_PATTERN[1:-1], text) is not None
    value, message = None, ""
    try:
        value = parse_duration_us(text)
    except ValueError as error:
        message = str(error)
    if value is None:
        assert not is_duration
        assert "write a number with us, ms or s" in message
    else:
        assert is_duration
        assert value >= 0
