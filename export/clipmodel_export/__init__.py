"""OpenCLIP to ONNX: a checkpoint in, one file out that Triton can serve, checked against PyTorch.

The rooms, from the edge inwards: `cli` (arguments, exit codes), `console` (what a person sees), `pipeline`
(the order of the steps), `weights` and `activation` (which checkpoint, which curve), `tower` (the PyTorch
module), `convert` (PyTorch to ONNX), `verify` and `golden` (does the file keep its promises), `writing` (onto the
disk, whole or not at all), `model` (the words that all of them share) and `errors`.

Nothing in this package imports torch, open_clip, onnx or onnxruntime when it is imported itself: they are an
extra, and `clipmodel --help` must not wait nine seconds for them.
"""

import os

# PyPI's onnxruntime (from 1.29 on) and huggingface_hub report home unless told otherwise before they are
# loaded. This runs before any of our modules can import them.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
