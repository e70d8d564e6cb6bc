"""`clipmodel embed` as a user meets it."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from clipmodel_client.__main__ import app
from clipmodel_client.compare import compare
from clipmodel_client.errors import EmbeddingError, ExitCode
from clipmodel_contract.model_metadata import WEIGHTS_KEY
from support.command_line import run_without_reader

PHOTOS = [str(photo) for photo in sorted((Path(__file__).parents[3] / "demo" / "photos").glob("*.jpg"))]
SIZE, DIMENSION = 32, 8


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


def write_model(path: Path, *, offset: float = 0.5, weights: str = "laion2b") -> Path:
    """The fake server's model as ONNX: mean of eight bands, times ten, plus an offset."""
    constants = {
        "bands": np.array([0, DIMENSION, 3 * SIZE * SIZE // DIMENSION]),
        "axis": np.array([2]),
        "ten": np.array(10, dtype=np.float32),
        "offset": np.array(offset, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["image", "bands"], ["r"]),
        helper.make_node("ReduceMean", ["r", "axis"], ["m"], keepdims=0),
        helper.make_node("Mul", ["m", "ten"], ["t"]),
        helper.make_node("Add", ["t", "offset"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bands",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {WEIGHTS_KEY: weights})
    onnx.save(model, str(path))
    return path


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'PIL', 'tritonclient', 'onnxruntime', 'grpc', 'gevent'}"
    code = f"import sys, clipmodel_client.cli; print(sorted({heavy} & set(sys.modules)))"
    path = str(Path(__file__).parents[3] / "operator")
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_help_teaches_with_examples() -> None:
    text = run("--help").output
    for part in (
        "clipmodel embed cat.jpg cup.jpg --clip openclip-vit-b32 -n demo",
        "--protocol http",
        "Exit codes",
    ):
        assert part in text
    for code in ExitCode:
        assert f"{code.value} " in text


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_table_shows_dimension_norm_values_and_cosines(server: Any, protocol: str) -> None:
    result = run(*PHOTOS, "--url", server.addresses[protocol], "--protocol", protocol)
    assert result.exit_code == 0, result.output
    for part in ("openclip_vit_b32: 2 embedding(s)", "cat.jpg", "coffee.jpg", " 8 ", "cosine", "1.0000"):
        assert part in result.stdout
    assert "\x1b[" not in result.stdout


def test_one_photograph_has_no_cosines(server: Any) -> None:
    assert "cosine" not in run(PHOTOS[0], "--url", server.addresses["grpc"]).stdout


def test_json_carries_the_vectors_to_the_last_digit(server: Any) -> None:
    result = run(*PHOTOS, "--url", server.addresses["grpc"], "--output", "json", "--raw")
    document = json.loads(result.stdout)
    assert [entry["photo"] for entry in document["embeddings"]] == PHOTOS
    assert document["normalised"] is False
    npy = run(*PHOTOS, "--url", server.addresses["grpc"], "--output", "npy", "--raw")
    vectors = np.load(io.BytesIO(npy.stdout_bytes), allow_pickle=False)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(np.array([e["embedding"] for e in document["embeddings"]], dtype=np.float32), vectors)
    np.testing.assert_allclose([e["norm"] for e in document["embeddings"]], np.linalg.norm(vectors, axis=1), rtol=1e-6)


@pytest.mark.parametrize("output", ["table", "npy"])
def test_vectors_that_nobody_reads_any_more_end_it_quietly(server: Any, output: str) -> None:
    photos, address = PHOTOS[:1], server.addresses["http"]
    done = run_without_reader(
        *("-m", "clipmodel_operator", "embed", *photos, "--url", address, "--protocol", "http", "-o", output)
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_vectors_are_normalised_unless_raw_is_asked_for(server: Any) -> None:
    document = json.loads(run(PHOTOS[0], "--url", server.addresses["grpc"], "--output", "json").stdout)
    assert document["normalised"] is True
    assert abs(np.linalg.norm(document["embeddings"][0]["embedding"]) - 1) < 1e-6
    assert document["embeddings"][0]["norm"] > 1.1  # as the model gave it


def test_more_photographs_than_a_batch(server: Any) -> None:
    result = run(*(PHOTOS * 20), "--url", server.addresses["grpc"], "--batch-size", "8")
    assert result.exit_code == 0, result.output
    assert server.behaviour.batches == [8] * 5
    assert "take --output npy" in result.stdout


def test_the_same_file_passes(server: Any, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    result = run(*PHOTOS, "--url", server.addresses["grpc"], "--compare", str(model))
    assert result.exit_code == 0, result.output
    assert "PASS" in result.stdout
    assert "random" not in result.stdout


def test_another_file_is_over_tolerance(server: Any, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", offset=0.501)
    result = run(*PHOTOS, "--url", server.addresses["grpc"], "--compare", str(model))
    assert result.exit_code == ExitCode.OVER_TOLERANCE
    assert "OVER TOLERANCE" in result.stdout
    assert "1.00e-03" in result.stdout
    assert (
        run(*PHOTOS, "--url", server.addresses["grpc"], "--compare", str(model), "--tolerance", "0.01").exit_code == 0
    )


def test_programs_get_the_comparison_too(server: Any, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", weights="random seed=0")
    result = run(*PHOTOS, "--url", server.addresses["grpc"], "--compare", str(model), "-o", "json")
    comparison = json.loads(result.stdout)["comparison"]
    assert (comparison["passed"], comparison["randomWeights"]) == (True, True)
    assert "PASS" in result.stderr


@pytest.mark.parametrize("output", ["table", "npy"])
def test_random_weights_are_said_to_mean_nothing(server: Any, tmp_path: Path, output: str) -> None:
    model = write_model(tmp_path / "model.onnx", weights="random seed=0")
    result = run(*PHOTOS, "--url", server.addresses["grpc"], "--compare", str(model), "--output", output)
    assert "weights of this model are random" in (result.stdout if output == "table" else result.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["x.jpg"], ExitCode.USAGE, "neither was given"),
        (["x.jpg", "--clip", "a", "--url", "b:1"], ExitCode.USAGE, "both was given"),
        (["x.jpg", "--url", "b:1", "-n", "c"], ExitCode.USAGE, "belong to --clip"),
        (["x.jpg", "--url", "http://b:1"], ExitCode.USAGE, "has a scheme"),
        (["x.jpg", "--url", "SERVER"], ExitCode.BAD_IMAGE, "x.jpg: there is no such file"),
        (["x.jpg", "--url", "SERVER", "--model", "other"], ExitCode.NOT_FOUND, "no ready model named other"),
        (["x.jpg", "--url", "SERVER", "--compare", "y.onnx"], ExitCode.USAGE, "there is no file y.onnx"),
        ([], ExitCode.USAGE, "PHOTO"),
    ],
)
def test_a_mistake_is_named_without_a_traceback(server: Any, arguments: list[str], code: ExitCode, words: str) -> None:
    result = run(*(server.addresses["grpc"] if argument == "SERVER" else argument for argument in arguments))
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_file_that_is_not_onnx_is_named(server: Any, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no")
    result = run(PHOTOS[0], "--url", server.addresses["grpc"], "--compare", str(tmp_path / "m.onnx"))
    assert result.exit_code == ExitCode.USAGE
    assert "cannot load" in result.output


def test_a_clipmodel_is_reached_through_a_port_forward(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resource = {"metadata": {"name": "openclip-vit-b32"}, "spec": {"batching": {"maxBatchSize": 1}}}
    (tmp_path / "resource").write_text(json.dumps(resource))
    port = server.addresses["grpc"].rpartition(":")[2]
    (tmp_path / "kubectl").write_text(
        f"""#!/bin/sh
case "$*" in
  "--namespace demo get clipmodels.clipmodel.dev openclip-vit-b32 --output json") cat {tmp_path}/resource;;
  "--namespace demo port-forward service/openclip-vit-b32 :8001 --address 127.0.0.1")
    echo "Forwarding from 127.0.0.1:{port} -> 8001"; exec tail -f /dev/null;;
  *) echo "error: unexpected: $*" >&2; exit 1;;
esac
"""
    )
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = run(*PHOTOS, "--clip", "openclip-vit-b32", "-n", "demo")
    assert result.exit_code == 0, result.output
    assert server.behaviour.batches == [1, 1]
    assert "not ready: the operator has not reported" in result.stderr


def test_vectors_of_two_models_are_not_compared() -> None:
    with pytest.raises(EmbeddingError, match="two models"):
        compare(np.ones((1, 4), np.float32), np.ones((1, 8), np.float32), tolerance=1)
