"""The real ViT-B-32 with random weights of a fixed seed, exported by the project's own exporter: made once for each of its releases."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def vit_b_32() -> Path:
    """Give the ONNX file; about half a minute and 2 GB of memory when it has to be made."""
    exporter = sorted((_ROOT / "export" / "clipmodel_export").glob("*.py"))
    token = hashlib.sha256(b"".join(p.read_bytes() for p in exporter)).hexdigest()[:12]
    path = _ROOT / "build" / f"vit-b32-random-{token}.onnx"
    if not path.exists():
        command = [sys.executable, "-m", "clipmodel_export", "--random-weights", "--seed", "0", "--output", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr or done.stdout
    return path
