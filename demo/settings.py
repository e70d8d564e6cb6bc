"""The names and places of the demo."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".demo"
MODEL = WORK / "model.onnx"
OVERLAY = WORK / "overlay"
SAMPLE = ROOT / "manifests" / "samples" / "openclip-vit-b32.yaml"
MANIFESTS = ROOT / "manifests" / "demo"
KIND_SCRIPTS = ROOT / "tests" / "kind"
PHOTOS = (ROOT / "demo" / "photos" / "cat.jpg", ROOT / "demo" / "photos" / "coffee.jpg")

CLUSTER = "clipmodel"
SYSTEM_NAMESPACE, OPERATOR = "clipmodel-system", "clipmodel-operator"
NAMESPACE, CLIPMODEL = "clipmodel-demo", "openclip-vit-b32"
MODEL_SERVER, MODEL_FILE = "model-server", "vit-b32.onnx"
MODEL_URI = f"http://{MODEL_SERVER}.{NAMESPACE}.svc:8080/{MODEL_FILE}"
RANDOM_SEED = 0


def kind_cache() -> Path:
    """Give the folder where tests/kind keeps kind, kubectl and kubeconfigs (its lib.sh says the same)."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CLIPMODEL_KIND_CACHE") or Path(caches) / "clipmodel-kind")


def relative(path: Path) -> str:
    """Name a file as it is typed in the checkout."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


# Where OpenCLIP fetches its default weights.
WEIGHTS_HUB = "https://huggingface.co"
