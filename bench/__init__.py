"""How long does it take, beside the same by hand? `python -m bench apply|live|scale`; docs/benchmarks.md says what is compared with what."""

import os

# Before anything of ours, or a child of ours, loads onnxruntime: it reports home otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
