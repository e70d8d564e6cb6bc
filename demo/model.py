"""The model of the demo, exported once: pretrained where the hub can be reached, else with random weights."""

import hashlib
import sys
from dataclasses import dataclass

from clipmodel_export.weights import check_reachable
from demo import command, settings
from demo.console import Narrator
from demo.errors import DemoError

RANDOM_WEIGHTS_NOTE = (
    "RANDOM WEIGHTS: these embeddings are right for a model that never learnt anything; their cosines mean nothing."
)

_TRY_AGAIN = 11  # the exporter's exit code where the hub does not answer


@dataclass(frozen=True, slots=True)
class Model:
    """What was exported."""

    sha256: str
    random_weights: bool


def export(narrator: Narrator, *, random_weights: bool) -> Model:
    """Export the model unless it is there; say at once if its weights are random.

    Raises:
        DemoError: the exporter failed.

    """
    if settings.MODEL.exists():
        narrator.announce(f"model: {settings.relative(settings.MODEL)} is there")
    else:
        settings.WORK.mkdir(exist_ok=True)
        _export(narrator, random_weights=random_weights)
    model = Model(sha256=_sha256(), random_weights=_has_random_weights())
    narrator.detail(f"sha256 {model.sha256}, {settings.MODEL.stat().st_size / 1e6:.0f} MB")
    if model.random_weights:
        narrator.say(RANDOM_WEIGHTS_NOTE, style="yellow")
        narrator.detail(f"to try the pretrained weights again: rm {settings.relative(settings.MODEL)}, then make demo")
    return model


def _export(narrator: Narrator, *, random_weights: bool) -> None:
    base = [sys.executable, "-m", "clipmodel_export", "--no-next-step", "--output", str(settings.MODEL)]
    random = [*base, "--random-weights", "--seed", str(settings.RANDOM_SEED)]
    code, tried = _TRY_AGAIN, base
    if not random_weights:
        # Asked here already: the exporter would load PyTorch first, for which a busy machine takes a minute.
        unreachable = check_reachable(settings.WEIGHTS_HUB, within_s=5)
        if unreachable is None:
            narrator.announce("model: exporting ViT-B-32 with its pretrained weights (about 600 MB, once)")
            code = command.run_in_foreground(base)
        if code == _TRY_AGAIN:
            narrator.say("the weights hub cannot be reached from here: random weights instead", style="yellow")
    if code == _TRY_AGAIN:
        narrator.announce("model: exporting ViT-B-32 with random weights")
        tried = random
        code = command.run_in_foreground(tried)
    if code != 0:
        raise DemoError(
            f"The exporter failed with exit code {code}; its words are above.",
            advice=f"Try it by hand: {command.typed(tried)}",
        )


def _sha256() -> str:
    with settings.MODEL.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_random_weights() -> bool:
    """Ask the file itself, which cannot go out of step with what is served."""
    code = "import sys, pathlib; from clipmodel_client.compare import DirectModel; "
    code += "print(DirectModel(pathlib.Path(sys.argv[1])).random_weights)"
    return command.run([sys.executable, "-c", code, str(settings.MODEL)]).strip() == "True"
