"""The builder that other tests stand on: same bytes for ever, pictures told apart, batches irrelevant."""

import hashlib
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import pytest

from clipmodel_export.golden import render_golden_images
from support.tiny_onnx import TinyOptions, build_tiny_onnx


@pytest.mark.parametrize("options", [{}, {"image_size": 32, "dimension": 16}, {"image_size": 30, "dimension": 640}])
def test_golden_images_get_unlike_vectors_in_any_batch(options: TinyOptions) -> None:
    size, dimension = options.get("image_size", 224), options.get("dimension", 512)
    session = onnxruntime.InferenceSession(build_tiny_onnx(**options))
    images = render_golden_images(8, size=size)
    together = session.run(["embedding"], {"image": images})[0]
    assert together.shape == (8, dimension)
    np.testing.assert_allclose(session.run(["embedding"], {"image": images[:1]})[0], together[:1], atol=1e-6)
    first, second = together[:2] / np.linalg.norm(together[:2], axis=1, keepdims=True)
    assert abs(float(first @ second)) < 0.9


def test_two_seeds_are_two_spaces() -> None:
    images = render_golden_images(1, size=224)
    one, other = (
        onnxruntime.InferenceSession(build_tiny_onnx(seed=seed)).run(["embedding"], {"image": images})[0][0]
        for seed in (0, 1)
    )
    assert abs(float(one @ other) / float(np.linalg.norm(one) * np.linalg.norm(other))) < 0.9


def test_the_bytes_are_small_and_the_same_every_time() -> None:
    content = build_tiny_onnx()
    assert build_tiny_onnx() == content
    assert len(content) < 110_000
    assert hashlib.sha256(content).digest() != hashlib.sha256(build_tiny_onnx(seed=1)).digest()
