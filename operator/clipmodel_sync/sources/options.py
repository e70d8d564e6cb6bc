"""How patient a fetch is."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How patient a fetch is. Tests are less so."""

    tries: int = 3
    connect_timeout_seconds: float = 10
    # Between two pieces of the body, not for all of it: the Job has a deadline for that.
    read_timeout_seconds: float = 60
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
