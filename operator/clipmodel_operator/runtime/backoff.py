"""How long to wait before a failed key is tried again: exponential, with jitter, per key."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays of `base_s` doubled at each failure up to `limit_s`, each shortened by up to a half so that keys do not march in step."""

    base_s: float = 1.0
    limit_s: float = 300.0
    jitter: Callable[[], float] = random.random  # nothing here is a secret
    _failures: dict[Hashable, int] = field(default_factory=dict)

    def next_delay_s(self, key: Hashable) -> float:
        """Count a failure of the key and give the delay before its next try, in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        full = min(self.base_s * 2.0 ** min(failures, 32), self.limit_s)
        return full * (0.5 + 0.5 * self.jitter())

    def forget(self, key: Hashable) -> None:
        """Start again from the shortest delay."""
        self._failures.pop(key, None)
