"""What the operator's administrator decides, as far as it shows in rendered objects."""

from __future__ import annotations

from dataclasses import dataclass

#: The production image: releases before 26.07 have known CVEs.
DEFAULT_TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:26.09-py3"
#: The name without a registry: nobody publishes it for you (docs/operations.md, Images).
DEFAULT_SYNC_IMAGE = "clipmodel-sync:0.1.0"
#: How long a pod that ends still serves: endpoints must hear of its deletion first, for Triton stays "ready" while it drains.
DEFAULT_PRE_STOP_S = 10
#: Load balancers outside the cluster may take a minute or two to let go of a pod.
LONGEST_PRE_STOP_S = 300


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """Images, where a ClipModel does not say, and how pods end."""

    triton_image: str = DEFAULT_TRITON_IMAGE
    sync_image: str = DEFAULT_SYNC_IMAGE
    pre_stop_s: int = DEFAULT_PRE_STOP_S
    """Seconds between a pod's deletion and SIGTERM."""
