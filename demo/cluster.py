"""Brings up the kind cluster and its images, with the scripts of tests/kind that the tests use too."""

from pathlib import Path

from demo import command, settings
from demo.console import Narrator
from demo.errors import DemoError
from demo.kubectl import Kubectl

_WANTED = (
    "CLIPMODEL_OPERATOR_IMAGE",
    "CLIPMODEL_SYNC_IMAGE",
    "CLIPMODEL_TRITON_IMAGE",
    "CLIPMODEL_MODEL_SERVER_IMAGE",
)


def start(narrator: Narrator, name: str) -> Kubectl:
    """Make or find the cluster."""
    with narrator.step(f"cluster {name}"):
        output = command.run_with_lines([str(settings.KIND_SCRIPTS / "up.sh"), "--export", name], tell=narrator.detail)
    lines = output.split()
    if not lines:
        raise DemoError("tests/kind/up.sh named no kubeconfig.", advice=f"Run it by hand: tests/kind/up.sh {name}")
    return Kubectl(kubeconfig=Path(lines[-1]), context=f"kind-{name}")


def load_images(narrator: Narrator, name: str) -> dict[str, str]:
    """Build the images that changed and load those that the cluster lacks; give their names."""
    with narrator.step("images"):
        output = command.run_with_lines([str(settings.KIND_SCRIPTS / "images.sh"), name], tell=narrator.detail)
    return parse_images(output)


def parse_images(output: str) -> dict[str, str]:
    """Read VARIABLE=image lines.

    Raises:
        DemoError: one is missing.

    """
    images = dict(line.strip().split("=", 1) for line in output.splitlines() if "=" in line)
    missing = [name for name in _WANTED if not images.get(name)]
    if missing:
        raise DemoError(f"tests/kind/images.sh named no {missing[0]}.", advice="Run it by hand: tests/kind/images.sh")
    return images
