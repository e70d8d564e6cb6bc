"""The end of the demo: two photographs in, embeddings out, and what to try next."""

import sys
from pathlib import Path

from demo import command, settings
from demo.console import Narrator
from demo.errors import DemoError
from demo.kubectl import Kubectl
from demo.model import RANDOM_WEIGHTS_NOTE, Model

_OVER_TOLERANCE = 9


def embed(narrator: Narrator, kubectl: Kubectl) -> None:
    """Send the photographs through the Service and compare with ONNX Runtime on the same file.

    Raises:
        DemoError: it failed, or the embeddings differ.

    """
    arguments = [
        *("embed", *(settings.relative(photo) for photo in settings.PHOTOS)),
        *(
            "--clip",
            settings.CLIPMODEL,
            "-n",
            settings.NAMESPACE,
            "--compare",
            settings.relative(settings.MODEL),
        ),
        *("--kubeconfig", str(kubectl.kubeconfig), "--context", kubectl.context),
    ]
    narrator.announce("embedding two photographs through the Service")
    narrator.plain(f"$ clipmodel {command.typed(arguments)}")
    code = command.run_in_foreground([sys.executable, "-m", "clipmodel_operator", *arguments])
    if code == _OVER_TOLERANCE:
        raise DemoError(
            "What is served differs from ONNX Runtime on the same file.",
            advice="Please report it, with the table above.",
        )
    if code != 0:
        raise DemoError(
            f"clipmodel embed ended with exit code {code}; its words are above.", advice="Follow its advice."
        )


def conclude(narrator: Narrator, kubectl: Kubectl, *, name: str, model: Model) -> None:
    """Show the resource, and what a newcomer can do now."""
    arguments = ("get", "clipmodels", "--namespace", settings.NAMESPACE)
    narrator.plain(f"$ kubectl {command.typed(arguments)}")
    narrator.plain(kubectl.run(*arguments).rstrip())
    down = "make demo-down" if name == settings.CLUSTER else f"python -m demo down --name {name}"
    here = f"-n {settings.NAMESPACE}"
    narrator.plain(
        f"""
To try next, in this checkout:
  export KUBECONFIG={kubectl.kubeconfig} PATH={Path(sys.executable).parent}:{settings.kind_cache() / "bin"}:$PATH
  kubectl {here} describe clipmodel {settings.CLIPMODEL}     # what the operator says
  kubectl {here} get deployment,service,pvc,job,configmap  # what it made
  kubectl {here} edit clipmodel {settings.CLIPMODEL}         # change the delay, or spoil the sha256
  clipmodel embed YOUR.jpg demo/photos/cat.jpg --clip {settings.CLIPMODEL} {here}
  {down}"""
    )
    if model.random_weights:
        narrator.plain()
        narrator.plain(RANDOM_WEIGHTS_NOTE, style="yellow")
