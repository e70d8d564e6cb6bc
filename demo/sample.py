"""Applies the sample ClipModel and waits until it is Ready, telling what its conditions say meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from demo import settings
from demo.console import Narrator
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.model import Model

_DEADLINE_S = 600.0
_EVERY_S = 1.0


def apply(narrator: Narrator, kubectl: Kubectl, model: Model) -> None:
    """Apply the sample with the real digest in it.

    Raises:
        DemoError: the API server rejects it.

    """
    with narrator.step(f"ClipModel {settings.CLIPMODEL}"):
        sample = render_sample(settings.SAMPLE.read_text(), sha256=model.sha256)
        (settings.WORK / "sample.yaml").write_text(yaml.safe_dump(sample, sort_keys=False))
        narrator.detail(f"kubectl apply --server-side -f {settings.relative(settings.WORK / 'sample.yaml')}")
        for line in kubectl.apply([sample]):
            narrator.detail(line)


def render_sample(text: str, *, sha256: str) -> dict[str, Any]:
    """Put digest, address and namespace of the demo into the sample."""
    sample: dict[str, Any] = yaml.safe_load(text)
    sample["metadata"] |= {"name": settings.CLIPMODEL, "namespace": settings.NAMESPACE}
    sample["spec"]["versions"][0]["source"] |= {"uri": settings.MODEL_URI, "sha256": sha256}
    return sample


def wait_until_ready(narrator: Narrator, kubectl: Kubectl, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Wait for Ready; fail at once where the operator says that a person must act.

    Raises:
        DemoError: it is Stalled, or not Ready within ten minutes.

    """
    progress = Progress()
    deadline = clock() + _DEADLINE_S
    with narrator.step("waiting for condition Ready"):
        while True:
            resource = kubectl.get("clipmodels.clipmodel.dev", settings.CLIPMODEL, "-n", settings.NAMESPACE)
            for line in progress.update(resource):
                narrator.detail(line)
            if progress.ready:
                return
            if progress.stalled:
                raise DemoError(f"{settings.CLIPMODEL} is stalled: {progress.stalled}", advice=_advice())
            if clock() > deadline:
                raise DemoError(f"{settings.CLIPMODEL} is not Ready after {_DEADLINE_S:.0f} s.", advice=_advice())
            time.sleep(_EVERY_S)


@dataclass(slots=True)
class Progress:
    """What the conditions have said so far."""

    ready: bool = False
    stalled: str = ""
    _told: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def update(self, resource: dict[str, Any]) -> list[str]:
        """Take in the resource; give a line for each condition that changed."""
        status = resource.get("status", {})
        now = {
            condition["type"]: (condition["status"], condition.get("reason", ""), condition.get("message", ""))
            for condition in status.get("conditions", [])
        }
        lines = [
            f"{kind}={words[0]} {words[1]}: {words[2]}" for kind, words in now.items() if self._told.get(kind) != words
        ]
        self._told = now
        # A status that is about an earlier spec says nothing about this one.
        current = now if status.get("observedGeneration") == resource["metadata"]["generation"] else {}
        self.ready = current.get("Ready", ("",))[0] == "True"
        stalled, _, message = current.get("Stalled", ("", "", ""))
        self.stalled = message if stalled == "True" else ""
        return lines


def _advice() -> str:
    return f"Its status says what to do: kubectl -n {settings.NAMESPACE} describe clipmodel {settings.CLIPMODEL}"
