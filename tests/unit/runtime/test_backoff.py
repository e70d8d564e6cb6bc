"""Delays double up to a limit, keys do not march in step, and a success starts again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.runtime.backoff import Backoff


@given(st.integers(0, 80), st.floats(0, 1, exclude_max=True), st.floats(0.1, 10), st.floats(10, 1000))
def test_delays_stay_in_their_bounds(failures: int, jitter: float, base: float, limit: float) -> None:
    backoff = Backoff(base_s=base, limit_s=limit, jitter=lambda: jitter)
    for count in range(failures + 1):
        full = min(base * 2.0**count, limit)
        assert full / 2 <= backoff.next_delay_s("key") <= full


def test_without_jitter() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.next_delay_s("a") for _ in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert backoff.next_delay_s("b") == 1
    backoff.forget("a")
    backoff.forget("never seen")
    assert backoff.next_delay_s("a") == 1


def test_jitter_spreads_keys() -> None:
    backoff = Backoff()
    assert len({backoff.next_delay_s(n) for n in range(50)}) > 40


def test_thousands_of_failures_do_not_overflow() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    assert max(backoff.next_delay_s("a") for _ in range(5000)) == pytest.approx(300)
