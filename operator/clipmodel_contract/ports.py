"""Where Triton listens, in its pod and on the Service: its own default ports."""

from __future__ import annotations

from typing import Final

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 8002
