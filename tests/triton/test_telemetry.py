"""Does anything leave? The sync program proves a version, and the light Triton serves it, where every name and every packet is seen.

PyPI's ONNX Runtime reports home unless it is told not to before it loads; the images say so to whatever runs in them. The test starts none that
does not, so that it sends nothing even when it fails. What it can see is shown each time: by a control that asks and sends, from a container that is
watched in the same way, after all else has ended. Nothing tells the containers about telemetry beyond their images, as in a pod that somebody
made by hand.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipmodel_contract import golden
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.rendering.config_pbtxt import render_config_pbtxt
from support.builders import build_model, build_spec
from support.containers import docker, wait_for_line
from support.tiny_onnx import build_tiny_onnx
from support.witness import Seen, Witness, witness

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

NAME, SIZE, DIMENSION = "tiny", 224, 512
OFF = {"ORT_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_TELEMETRY=1"}
NOTHING = Seen((), ())
INFERENCES = 100
AS_IN_A_POD = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--shm-size=256m"]
#: Appended to the golden images' module.
_ASK = f"""
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
for index in range({INFERENCES}):
    image = golden_image(index % IMAGE_COUNT, {SIZE})
    body, length = infer_request(image, input_name="image", output_name="embedding", size={SIZE})
    headers = {{HEADER_LENGTH: str(length), "Content-Type": "application/octet-stream"}}
    connection.request("POST", "/v2/models/{NAME}/infer", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    assert len(infer_response(content, int(answer.headers[HEADER_LENGTH]))) == {DIMENSION}
print("answered")
"""


def image(variable: str) -> str:
    """Give an image that tells its programs to keep still, and no other: no other is started."""
    name = os.environ.get(variable)
    if not name:
        pytest.fail(f"{variable} names no image: tests/kind/images.sh builds them, and prints the names")
    [found] = json.loads(docker("image", "inspect", name))
    missing = OFF - set(found["Config"]["Env"])
    assert not missing, f"{name} does not set {missing}: it is not run"
    return name


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Witness]:
    with witness(image("CLIPMODEL_SYNC_IMAGE"), tmp_path) as found:
        yield found


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Make an empty volume, and a claim with a model to fetch from."""
    claim, made = tmp_path / "source" / "claim", tmp_path / "volume"
    claim.mkdir(parents=True)
    (claim / "tiny.onnx").write_bytes(build_tiny_onnx(seed=1))
    made.mkdir()
    if os.getuid() == 0:
        os.chown(made, *USER)
    return made


#: The images' own user; where the tests are not root's, theirs: it is they who can write to the volume, and remove it.
USER = (os.getuid() or 1000, os.getgid() or 1000)


def sync(watched: Witness, volume: Path, *, uri: str = "pvc://claim/tiny.onnx") -> subprocess.CompletedProcess[str]:
    """Run the sync program as its Job does."""
    arguments = {
        "volume": "/volume",
        "source-root": "/source",
        "report": "/tmp/report.json",  # noqa: S108 - in the container
        "model": NAME,
        "version": 1,
        "uri": uri,
        "sha256": hashlib.sha256(build_tiny_onnx(seed=1)).hexdigest(),
        "input-name": "image",
        "image-size": SIZE,
        "output-name": "embedding",
        "dimension": DIMENSION,
    }
    return subprocess.run(
        [
            *["docker", "run", "--rm", *watched.arguments, *AS_IN_A_POD, f"--user={USER[0]}:{USER[1]}"],
            *[f"--volume={volume}:/volume", f"--volume={volume.parent / 'source'}:/source:ro"],
            *[image("CLIPMODEL_SYNC_IMAGE"), *(f"--{key}={value}" for key, value in arguments.items())],
        ],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_nothing_leaves_when_a_version_is_proven_and_served(watched: Witness, volume: Path) -> None:
    done = sync(watched, volume)
    assert done.returncode == 0, done.stdout
    state = json.loads((volume / ".state" / "1.json").read_text())
    assert len(state["golden"]["vectors"]) == golden.IMAGE_COUNT, "ONNX Runtime made embeddings"
    watched.control()
    assert watched.said_by_others() == NOTHING

    configs = volume.parent / "configs"
    configs.mkdir()
    (configs / "cpu.pbtxt").write_text(
        render_config_pbtxt(build_model(build_spec(modelName=NAME)), versions=[1], profile=Profile.CPU)
    )
    container = docker(
        *["run", "--detach", *watched.arguments, *AS_IN_A_POD, "--user=1000:1000"],
        *[f"--volume={volume / 'repository'}:/models:ro", f"--volume={configs}:/models/{NAME}/configs:ro"],
        *[image("CLIPMODEL_TRITON_IMAGE"), "tritonserver", "--model-repository=/models", f"--load-model={NAME}"],
        *["--model-control-mode=explicit", "--disable-auto-complete-config", "--model-config-name=cpu"],
    ).strip()
    try:
        wait_for_line(container, "Started HTTPService")
        program = inspect.getsource(golden) + _ASK
        assert docker("exec", container, "python3", "-c", program).strip() == "answered"
        # What is sent at the end, is sent now.
        docker("stop", "--time=120", container)
        assert docker("inspect", "--format={{.State.ExitCode}}", container).strip() == "0", docker("logs", container)
    finally:
        docker("rm", "--force", "--volumes", container)
    watched.control()
    assert watched.said_by_others() == NOTHING


def test_the_sync_program_asks_for_its_source_and_nothing_else(watched: Witness, volume: Path) -> None:
    """It is seen when it speaks: the one name that it was told to ask."""
    done = sync(watched, volume, uri="https://models.example.invalid/model.onnx")
    assert "SourceUnavailable" in done.stdout
    watched.control()
    said = watched.said_by_others()
    assert (set(said.names), said.packets) == ({"models.example.invalid"}, ())
