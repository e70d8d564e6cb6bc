"""The key that opens Triton's control endpoints: in which header it is sent, and in which variable a server's container has it."""

from __future__ import annotations

from typing import Final

#: Triton compares this header's value on the endpoints that are restricted. Lower case: gRPC metadata has no other.
CONTROL_HEADER: Final = "clipmodel-control-key"
#: In Triton's container, from the Secret.
CONTROL_KEY_VARIABLE: Final = "CLIPMODEL_CONTROL_KEY"
