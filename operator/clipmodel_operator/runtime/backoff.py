"""How long to wait before a failed key is tried again: exponential, with jitter, per key."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Failures:
    count: int
    due: float
    """When the next try is due, by the backoff's clock."""


@dataclass
class Backoff:
    """Delays of `base_s` doubled at each failure up to `limit_s`, each shortened by up to a half so that keys do not march in step."""

    base_s: float = 1.0
    limit_s: float = 300.0
    jitter: Callable[[], float] = random.random  # nothing here is a secret
    now: Callable[[], float] = time.monotonic
    _failures: dict[Hashable, _Failures] = field(default_factory=dict)

    def next_delay_s(self, key: Hashable) -> float:
        """Count a failure of the key and give the delay before its next try, in seconds.

        A failure before the next try was due does not count, and what is left of the delay is given: an event had asked for a try, and ten
        events in a second are no reason to wait for minutes.
        """
        known, now = self._failures.get(key), self.now()
        if known is not None and now < known.due:
            return known.due - now
        count = known.count if known is not None else 0
        full = min(self.base_s * 2.0 ** min(count, 32), self.limit_s)
        delay_s = full * (0.5 + 0.5 * self.jitter())
        self._failures[key] = _Failures(count + 1, now + delay_s)
        return delay_s

    def forget(self, key: Hashable) -> None:
        """Start again from the shortest delay."""
        self._failures.pop(key, None)
