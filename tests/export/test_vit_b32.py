"""The real thing: `python -m clipmodel_export` makes ViT-B-32 with random weights, in its own process, and verifies it.

One export serves every test here: about 40 s and 3 GB of memory on two idle cores. Run with -s to see what it took.
"""

import hashlib
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np

from clipmodel_export.golden import render_golden_images
from support.vit import SEED, keep_vit_b_32

pytestmark = [pytest.mark.export, pytest.mark.timeout(900)]

# What ViT-B-32's image tower weighs in FP32, and the graph around it.
PARAMETERS = 87_849_216
LARGEST_GRAPH_BYTES = 1_000_000


@dataclass(frozen=True)
class Export:
    path: Path
    said: str
    stdout: str


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    folder = tmp_path_factory.mktemp("vit-b-32")
    path = folder / "model_repository" / "openclip_vit_b32" / "1" / "model.onnx"
    source = Path(__file__).parents[2] / "export"
    started = time.monotonic()
    # No --output: the default place, relative to the current directory.
    result = subprocess.run(
        [sys.executable, "-m", "clipmodel_export", "--random-weights", "--seed", str(SEED), "--test"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    assert result.returncode == 0, result.stdout + result.stderr
    print(f"\nViT-B-32 exported and verified in {seconds:.0f} s, {peak_mib} MiB at the peak\n{result.stderr}")  # noqa: T201 - shown with -s
    yield Export(path=path, said=result.stderr, stdout=result.stdout)
    keep_vit_b_32(path)  # for the tests that serve it; and pytest keeps the folders of three runs: a gigabyte


@pytest.fixture(scope="module")
def session(export: Export) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(export.path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def open_clip_model() -> Any:
    import open_clip
    import torch

    torch.manual_seed(SEED)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained=None)
    (normalise,) = (step for step in preprocess.transforms if type(step).__name__ == "Normalize")
    return model.eval(), normalise


def test_the_output_names_path_bytes_and_digest(export: Export) -> None:
    said = dict(re.findall(r"^(\w+) {2,}(.+)$", export.stdout, flags=re.MULTILINE))
    with export.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert said["path"] == "model_repository/openclip_vit_b32/1/model.onnx"
    assert said["bytes"] == str(export.path.stat().st_size)
    assert said["sha256"] == digest
    assert said["parameters"] == str(PARAMETERS)
    assert f"sha256: {digest}" in export.stdout.partition("kind: ClipModel")[2]


def test_it_says_loudly_that_the_weights_are_random(export: Export) -> None:
    assert f"RANDOM WEIGHTS (seed {SEED})" in export.said
    assert "WITHOUT MEANING" in export.stdout
    assert "# RANDOM WEIGHTS" in export.stdout


def test_every_check_is_in_the_table(export: Export) -> None:
    for check in ("ONNX checker", "inputs and outputs", "batch 1", "batch 2", "batch 5", "batch 32"):
        assert check in export.stdout
    assert "FAILED" not in export.stdout


def test_there_is_one_file_of_the_expected_size(export: Export) -> None:
    assert [path.name for path in export.path.parent.iterdir()] == ["model.onnx"]
    # A little below the weights' own size here: random weights start with equal (zero) biases, stored once.
    assert abs(export.path.stat().st_size - 4 * PARAMETERS) < LARGEST_GRAPH_BYTES


def test_the_metadata_says_where_it_came_from_and_nothing_of_the_machine(export: Export) -> None:
    import onnx

    proto = onnx.load(str(export.path))
    assert {entry.key: entry.value for entry in proto.metadata_props} == {
        "clipmodel.architecture": "ViT-B-32",
        "clipmodel.dimension": "512",
        "clipmodel.image_size": "224",
        "clipmodel.quickgelu": "false",
        "clipmodel.weights": f"random seed={SEED}",
    }
    for weights in proto.graph.initializer:
        weights.ClearField("raw_data")
    text = proto.SerializeToString().decode("latin-1")
    for trace in ("site-packages", ".py", os.path.expanduser("~"), sys.prefix):  # noqa: PTH111 - as text
        assert trace not in text


def test_the_signature_is_the_contract(session: Any) -> None:
    (given,), (answered,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(float)", ["batch", 3, 224, 224])
    assert (answered.name, answered.type, answered.shape) == ("embedding", "tensor(float)", ["batch", 512])


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_embeddings_are_those_of_open_clip_itself(session: Any, open_clip_model: Any, batch: int) -> None:
    """Against OpenCLIP's own preprocessing, model and seed: the exporter's code takes no part in the reference."""
    import torch

    model, normalise = open_clip_model
    images = render_golden_images(batch, size=224)
    with torch.inference_mode():
        reference = model.encode_image(normalise(torch.from_numpy(images)), normalize=False).numpy()
    found = session.run(["embedding"], {"image": images})[0]
    # Measured: 5e-6 with norms around 22; other processors sum in other orders.
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-4)


def test_random_embeddings_vary_with_the_picture(session: Any) -> None:
    vectors = session.run(["embedding"], {"image": render_golden_images(4, size=224)})[0]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors / norms) @ (vectors / norms).T
    assert np.isfinite(vectors).all()
    assert cosines[~np.eye(4, dtype=bool)].max() < 0.99
    assert norms.min() > 1
