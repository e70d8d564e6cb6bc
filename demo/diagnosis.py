"""Collects what a person would look at after a failure: the resource, events, pods and logs."""

from demo import command, settings
from demo.errors import DemoError
from demo.kubectl import Kubectl

_FILE = settings.WORK / "failure.txt"


def collect(kubectl: Kubectl) -> str:
    """Give it all as text, and leave it in `.demo/failure.txt`."""
    here, system = ("--namespace", settings.NAMESPACE), ("--namespace", settings.SYSTEM_NAMESPACE)
    looks = [
        ("describe", "clipmodels.clipmodel.dev", settings.CLIPMODEL, *here),
        ("get", "pods,jobs,pvc", "--output", "wide", *here),
        ("get", "events", "--sort-by=.lastTimestamp", *here),
        ("get", "pods", "--output", "wide", *system),
        ("logs", f"deployment/{settings.OPERATOR}", "--tail=60", *system),
        *(("logs", name, "--all-containers", "--prefix", "--tail=40", *here) for name in _pods(kubectl)),
    ]
    text = "\n".join(_look(kubectl, look) for look in looks)
    settings.WORK.mkdir(exist_ok=True)
    _FILE.write_text(text)
    return f"{text}\n(this is also in {settings.relative(_FILE)})"


def _pods(kubectl: Kubectl) -> list[str]:
    try:
        pods = kubectl.get("pods", "--namespace", settings.NAMESPACE)["items"]
    except DemoError:
        return []
    names = [pod["metadata"]["name"] for pod in pods]
    return [f"pod/{name}" for name in names if not name.startswith(settings.MODEL_SERVER)]


def _look(kubectl: Kubectl, arguments: tuple[str, ...]) -> str:
    """Run one look; that it fails is worth knowing too, and stops nothing."""
    try:
        output = kubectl.run(*arguments, timeout_s=30)
    except DemoError as error:
        output = f"{error}\n"
    return f"$ {command.typed(['kubectl', *arguments])}\n{output}"
