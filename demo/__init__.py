"""From an empty machine to the embeddings of two photographs, served in a kind cluster: `python -m demo up`.

A rerun skips what is there and unchanged. Everything that it makes on this machine is the kind cluster,
Docker images, the caches of tests/kind, and the folder `.demo/`.
"""

import os

# Before anything of ours, or a child of ours, loads onnxruntime or huggingface_hub: both report home otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
