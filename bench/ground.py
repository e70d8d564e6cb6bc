"""What the benchmarks stand on: a kind cluster of their own, images of this checkout, the operator, the model, and the words that describe the machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo import cluster, command, install, settings
from demo.console import Narrator

from bench.errors import BenchError
from clipmodel_contract import golden

ROOT = settings.ROOT
CLUSTER = "clipmodel-bench"
OUTPUT = ROOT / "build" / "bench"
_SYSTEM = settings.SYSTEM_NAMESPACE
#: Field 6 of an ONNX ModelProto, a text that means nothing to a runtime: appended, it makes other bytes of the same model.
_DOC_STRING_TAG = 0x32


@dataclass(frozen=True, slots=True)
class Ground:
    """A cluster with the images of this checkout."""

    kubeconfig: Path
    images: Mapping[str, str]

    @property
    def node(self) -> str:
        return f"{CLUSTER}-control-plane"


def bring_up(narrator: Narrator, *, with_images: bool) -> Ground:
    """Make or find the cluster. Its API server keeps an audit log."""
    os.environ.update(command.environment())  # kubectl of tests/kind, for every child
    with narrator.step(f"cluster {CLUSTER}"):
        up = [str(settings.KIND_SCRIPTS / "up.sh"), CLUSTER, "0", str(settings.KIND_SCRIPTS / "test-cluster.yaml.in")]
        output = command.run_with_lines(up, tell=narrator.detail)
    images = cluster.load_images(narrator, CLUSTER) if with_images else {}
    return Ground(Path(output.split()[-1]), images)


def take_down(narrator: Narrator) -> None:
    with narrator.step(f"deleting cluster {CLUSTER}"):
        command.run_with_lines([str(settings.KIND_SCRIPTS / "down.sh"), CLUSTER], tell=narrator.detail)


def install_crd(ground: Ground) -> None:
    kubectl(ground, "apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "crds"))
    kubectl(ground, "wait", "--for=condition=Established", "crd/clipmodels.clipmodel.dev", "--timeout=60s")


def install_operator(narrator: Narrator, ground: Ground) -> None:
    """Install manifests/cluster-wide with the images of this checkout, and wait until the operator runs."""
    with narrator.step("operator"):
        overlay = OUTPUT / "install"
        overlay.mkdir(parents=True, exist_ok=True)
        base = os.path.relpath(ROOT / "manifests" / "cluster-wide", overlay)
        content = install.render_overlay(ground.images, base=base)
        (overlay / "kustomization.yaml").write_text(json.dumps(content, indent=2) + "\n")
        kubectl(ground, "apply", "--server-side", "--force-conflicts", "-k", str(overlay))
        kubectl(ground, "-n", _SYSTEM, "rollout", "status", f"deployment/{settings.OPERATOR}", "--timeout=180s")


def stop_operator(ground: Ground) -> None:
    """End the operator in the cluster, where there is one: two of them would undo each other's statuses. `install_operator` starts it again."""
    deployment = f"deployment/{settings.OPERATOR}"
    if kubectl(ground, "-n", _SYSTEM, "get", deployment, "--ignore-not-found", "-o", "name").strip():
        kubectl(ground, "-n", _SYSTEM, "scale", deployment, "--replicas=0")
        selector = f"app.kubernetes.io/name={settings.OPERATOR}"
        kubectl(ground, "-n", _SYSTEM, "wait", "--for=delete", "pod", "--selector", selector, "--timeout=90s")


def operator_memory_mib(ground: Ground) -> tuple[float, float]:
    """Give VmRSS and VmHWM (its highest) of the operator's process, in MiB."""
    text = kubectl(
        ground,
        "-n",
        _SYSTEM,
        "exec",
        f"deployment/{settings.OPERATOR}",
        "--",
        "python3",
        "-c",
        "print(open('/proc/1/status').read())",
    )
    return read_memory_mib(text)


def read_memory_mib(status: str) -> tuple[float, float]:
    """Read VmRSS and VmHWM from the text of /proc/PID/status."""
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident, highest = (int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return resident, highest


def kubectl(ground: Ground, *arguments: str, stdin: str | None = None, timeout_s: float = 300) -> str:
    return command.run(
        ["kubectl", "--kubeconfig", str(ground.kubeconfig), *arguments], stdin=stdin, timeout_s=timeout_s
    )


@dataclass(frozen=True, slots=True)
class Model:
    """An ONNX file, and the embedding of golden image 0 that ONNX Runtime makes of it on this machine."""

    path: Path
    sha256: str
    size_bytes: int
    expected: str


def make_model(narrator: Narrator, *, tiny: bool) -> Model:
    """Make, or find, ViT-B-32 with random weights; or a tiny model with the same tensors."""
    with narrator.step("model: tiny" if tiny else "model: ViT-B-32 with random weights"):
        if tiny:
            from support.tiny_onnx import build_tiny_onnx

            OUTPUT.mkdir(parents=True, exist_ok=True)
            path = OUTPUT / "tiny.onnx"
            path.write_bytes(build_tiny_onnx(seed=1))
        else:
            from support.vit import vit_b_32

            path = vit_b_32()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        narrator.detail(f"{settings.relative(path)}, {path.stat().st_size / 1e6:.1f} MB")
        return Model(path, sha256, path.stat().st_size, _expected(path))


def _expected(path: Path) -> str:
    """Embed golden image 0 by ONNX Runtime directly, as base64 of FP16."""
    import numpy as np
    import onnxruntime

    image = np.frombuffer(golden.golden_image(0, 224), dtype="<f4").reshape(1, 3, 224, 224)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    vector = np.asarray(session.run(["embedding"], {"image": image})[0])[0]
    return golden.encode_vector(vector.tolist())


@dataclass(frozen=True, slots=True)
class Sources:
    """The model server's files: the model, and as many others of the same weights as are asked for."""

    pod: str
    namespace: str
    model: Model

    def uri(self, name: str) -> str:
        return f"http://model-server.{self.namespace}.svc:8080/{name}"


def variant_suffix(number: int) -> bytes:
    """Make the bytes that, appended to an ONNX file, make it another file of the same model. Number 1 is the file itself."""
    if number == 1:
        return b""
    text = f"variant {number}".encode()
    return bytes([_DOC_STRING_TAG, len(text)]) + text


def serve_model(narrator: Narrator, ground: Ground, model: Model) -> Sources:
    """Run nginx in the cluster and put the model in."""
    from support.cluster import Kubectl
    from support.model_server import start_model_server

    with narrator.step("model server"):
        images = ground.images
        server = start_model_server(
            Kubectl(str(ground.kubeconfig)),
            image=images["CLIPMODEL_MODEL_SERVER_IMAGE"],
            python_image=images["CLIPMODEL_SYNC_IMAGE"],
        )
        sources = Sources(server.pod, str(server.kubectl.namespace), model)
        found = kubectl(
            ground,
            "-n",
            sources.namespace,
            "exec",
            sources.pod,
            "--",
            "sh",
            "-c",
            "sha256sum /models/1.onnx 2>/dev/null || true",
        )
        if not found.startswith(model.sha256):
            kubectl(ground, "-n", sources.namespace, "cp", str(model.path), f"{sources.pod}:/models/1.onnx")
        return sources


def add_variant(ground: Ground, sources: Sources, number: int) -> str:
    """Put a file with the same weights and other bytes beside the model, as NUMBER.onnx; give its digest."""
    suffix = variant_suffix(number)
    with sources.model.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(suffix)
    octal = "".join(f"\\{byte:03o}" for byte in suffix)
    script = f"cp /models/1.onnx /models/{number}.onnx && printf '{octal}' >>/models/{number}.onnx && sha256sum /models/{number}.onnx"
    made = kubectl(ground, "-n", sources.namespace, "exec", sources.pod, "--", "sh", "-c", script).split()[0]
    if made != digest.hexdigest():
        raise BenchError(
            f"{number}.onnx in the model server is not what it should be: delete namespace {sources.namespace}, and run this again"
        )
    return made


def render_config_pbtxt(manifest: Mapping[str, Any]) -> str:
    """Have `clipmodel render` say the config.pbtxt of a ClipModel: the config by hand is the same."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(manifest, file)  # YAML is a superset of JSON
        file.flush()
        return command.run(["clipmodel", "render", "-f", file.name, "--only", "config"])


def describe_machine() -> list[str]:
    """Say what the figures were taken on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = next(
        (int(line.split()[1]) / 2**20 for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")),
        0.0,
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit or 'unknown'}",
        f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}",
        describe_load(),
    ]


def describe_load() -> str:
    """Say how busy the machine is: figures of a machine with other work on it are that much worse."""
    one, five, fifteen = os.getloadavg()
    return f"load average {one:.1f} {five:.1f} {fifteen:.1f}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # not Linux
        return ""


def save(name: str, content: object) -> Path:
    """Keep the raw figures."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
