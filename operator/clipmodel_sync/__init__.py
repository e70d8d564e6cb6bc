"""The program inside the sync Job: how a version gets onto the volume, complete, digest-checked and proven.

docs/spec/sync.md is the contract. Nothing of the operator is imported here, and nothing of this there.
"""

import os

# PyPI's onnxruntime sends telemetry from Linux unless this is set before it is loaded. Here, because every
# module of this package is imported after this line, whoever imports it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
