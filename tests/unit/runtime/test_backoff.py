"""Delays double up to a limit, keys do not march in step, and a success starts again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.runtime.backoff import Backoff


@dataclass
class Time:
    """A clock that waits out each delay."""

    seconds: float = 0.0

    def wait_out(self, backoff: Backoff, key: str = "key") -> float:
        delay_s = backoff.next_delay_s(key)
        self.seconds += delay_s
        return delay_s


@given(st.integers(0, 80), st.floats(0, 1, exclude_max=True), st.floats(0.1, 10), st.floats(10, 1000))
def test_delays_stay_in_their_bounds(failures: int, jitter: float, base: float, limit: float) -> None:
    time = Time()
    backoff = Backoff(base_s=base, limit_s=limit, jitter=lambda: jitter, now=lambda: time.seconds)
    for count in range(failures + 1):
        full = min(base * 2.0**count, limit)
        assert full / 2 <= time.wait_out(backoff) <= full


def test_without_jitter() -> None:
    time = Time()
    backoff = Backoff(jitter=lambda: 1.0, now=lambda: time.seconds)
    assert [time.wait_out(backoff) for _ in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert backoff.next_delay_s("other") == 1
    backoff.forget("key")
    backoff.forget("never seen")
    assert backoff.next_delay_s("key") == 1


def test_a_failure_before_its_time_does_not_count() -> None:
    """An event asked for a try in between: the next one is due when it was."""
    time = Time()
    backoff = Backoff(base_s=8.0, jitter=lambda: 1.0, now=lambda: time.seconds)
    assert backoff.next_delay_s("key") == 8
    time.seconds = 2.0
    assert [backoff.next_delay_s("key") for _ in range(10)] == [6] * 10
    time.seconds = 8.0
    assert backoff.next_delay_s("key") == 16


def test_jitter_spreads_keys() -> None:
    backoff = Backoff()
    assert len({backoff.next_delay_s(n) for n in range(50)}) > 40


def test_thousands_of_failures_do_not_overflow() -> None:
    time = Time()
    backoff = Backoff(jitter=lambda: 1.0, now=lambda: time.seconds)
    assert max(time.wait_out(backoff) for _ in range(5000)) == pytest.approx(300)
