"""The real ViT-B-32 with random weights of a fixed seed, exported by the project's own exporter: made once for each of its releases."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[2]
SEED = 7


def _kept_at() -> Path:
    exporter = sorted((_ROOT / "export" / "clipmodel_export").glob("*.py"))
    token = hashlib.sha256(b"".join(p.read_bytes() for p in exporter)).hexdigest()[:12]
    return _ROOT / "build" / f"vit-b32-random-{SEED}-{token}.onnx"


def keep_vit_b_32(made: Path) -> None:
    """Move a file that this exporter has made of this seed to where the next one looks for it."""
    kept = _kept_at()
    kept.parent.mkdir(exist_ok=True)
    # Whole, or not at all: another worker may be looking.
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="vit-b32-") as folder:
        moved = Path(folder, "model.onnx")
        shutil.move(made, moved)
        moved.rename(kept)


def vit_b_32() -> Path:
    """Give the ONNX file; about half a minute and 2 GB of memory when it has to be made."""
    kept = _kept_at()
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "model.onnx")
            command = [
                sys.executable,
                "-m",
                "clipmodel_export",
                "--random-weights",
                "--seed",
                str(SEED),
                "--output",
                str(made),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr or done.stdout
            keep_vit_b_32(made)
    return kept
