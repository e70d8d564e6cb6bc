"""Which checkpoint, which activation, which normalisation, and is the hub there at all.

OpenCLIP's table of tags decides where it can. Before it is asked to download anything, one request finds out
whether the hub answers: left alone, it tries two file names six times each, 46 seconds without a network.
"""

import difflib
import os
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipmodel_export.activation import Activation, decide_for_file, decide_for_random, decide_for_tag
from clipmodel_export.errors import CheckpointError, UnknownModelError, WeightsUnreachableError
from clipmodel_export.model import CheckpointFile, ExportRequest, PretrainedTag, RandomWeights
from clipmodel_export.writing import compute_sha256

# One name lookup and one answer: seconds where it works at all, also over a bad line.
REACHABLE_WITHIN_S = 15.0

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ResolvedWeights:
    """Everything that the tower needs to be built; `checkpoint` is None for random weights."""

    checkpoint: Path | None
    is_torchscript: bool
    activation: Activation
    mean: Rgb
    std: Rgb
    checkpoint_sha256: str | None


def resolve_weights(request: ExportRequest) -> ResolvedWeights:
    """Find the checkpoint (downloading it if it has to be) and decide what it cannot say itself.

    Raises:
        ExportError: of whatever kind keeps the weights from being used.

    """
    config = _get_architecture(request.architecture)
    architecture_says = bool(config.get("quick_gelu", False))
    match request.weights:
        case RandomWeights():
            mean, std = _get_normalisation(request.architecture, {})
            return ResolvedWeights(
                checkpoint=None,
                is_torchscript=False,
                activation=decide_for_random(architecture_says=architecture_says, asked=request.quick_gelu),
                mean=mean,
                std=std,
                checkpoint_sha256=None,
            )
        case PretrainedTag(tag):
            entry = _get_tag(request.architecture, tag)
            # Decided before the download, which takes minutes.
            activation = decide_for_tag(
                tag=tag, table_says=bool(entry.get("quick_gelu", False)), asked=request.quick_gelu
            )
            checkpoint = _download(request.architecture, tag, entry)
        case CheckpointFile(path):
            require_file(path)
            tags = _list_tags(request.architecture)
            activation = decide_for_file(
                path.absolute(),
                architecture=request.architecture,
                architecture_says=architecture_says,
                is_torchscript=is_torchscript(path),
                tags={name: bool(entry.get("quick_gelu", False)) for name, entry in tags.items()},
                asked=request.quick_gelu,
            )
            entry, checkpoint = {}, path
    mean, std = _get_normalisation(request.architecture, entry)
    return ResolvedWeights(
        checkpoint=checkpoint,
        is_torchscript=is_torchscript(checkpoint),
        activation=activation,
        mean=mean,
        std=std,
        checkpoint_sha256=compute_sha256(checkpoint),
    )


def require_file(path: Path) -> None:
    """Refuse a checkpoint that is not there.

    Raises:
        CheckpointError: there is no such file, or it may not be read.

    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} is not a file.",
            advice="Give --pretrained an existing checkpoint, or one of OpenCLIP's tags.",
        )
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path} may not be read.", advice="Make it readable for yourself (chmod u+r).")


def is_torchscript(path: Path) -> bool:
    """Whether a checkpoint is a TorchScript archive, as OpenAI's original files are."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def check_reachable(address: str, *, within_s: float = REACHABLE_WITHIN_S) -> str | None:
    """Ask once; return why there was no answer. Any HTTP status is one; proxies of the environment count."""
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - http and https from a table
            with urllib.request.urlopen(request, timeout=within_s):  # noqa: S310
                outcome.append(None)
        except urllib.error.HTTPError:
            outcome.append(None)
        except OSError as error:
            outcome.append(str(getattr(error, "reason", None) or error))

    # urlopen's timeout does not cover the name lookup, which alone can take half a minute.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_s)
    return outcome[0] if outcome else f"no answer within {within_s:g} s"


def _get_architecture(architecture: str) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(architecture)
    if config is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), n=3, cutoff=0.5)
        raise UnknownModelError(
            f"OpenCLIP has no architecture {architecture!r}.",
            advice=f"Did you mean {' or '.join(near)}?"
            if near
            else "python -c 'import open_clip; print(open_clip.list_models())' lists them.",
        )
    return config


def _list_tags(architecture: str) -> dict[str, dict[str, Any]]:
    import open_clip

    return {
        tag: open_clip.get_pretrained_cfg(architecture, tag)
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    }


def _get_tag(architecture: str, tag: str) -> dict[str, Any]:
    import open_clip

    entry: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    if not entry:
        known = list(_list_tags(architecture))
        near = difflib.get_close_matches(tag, known, n=3, cutoff=0.5) or known[:8]
        raise UnknownModelError(
            f"OpenCLIP has no weights {tag!r} for {architecture}.",
            advice=f"Known tags are for example {', '.join(near)}; for a file of your own give its path."
            if known
            else "It has none at all for this architecture: give the path of a checkpoint file.",
        )
    return entry


def _get_normalisation(architecture: str, entry: Mapping[str, Any]) -> tuple[Rgb, Rgb]:
    """Take mean and std from the tag, else from what all tags of the architecture agree on, else OpenAI's."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    if not entry:
        said = {(other["mean"], other["std"]) for other in _list_tags(architecture).values()}
        if len(said) == 1:
            return said.pop()
    return entry.get("mean", OPENAI_DATASET_MEAN), entry.get("std", OPENAI_DATASET_STD)


def _download(architecture: str, tag: str, entry: dict[str, Any]) -> Path:
    """Bring the tag's checkpoint into the hub's cache, or find it there."""
    import open_clip
    from huggingface_hub import constants, try_to_load_from_cache

    source, names = entry.get("url", ""), ""
    if entry.get("hf_hub"):
        repository, name = os.path.split(entry["hf_hub"])
        wanted = (name,) if name else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        for candidate in wanted:
            cached = try_to_load_from_cache(repository, candidate)
            if isinstance(cached, str):
                return Path(cached)
        source, names = f"{constants.ENDPOINT}/{repository}", f" ({' or '.join(wanted)})"
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else check_reachable(source)
    if why is None:
        try:
            return Path(open_clip.download_pretrained(entry))
        except (OSError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())[:300]
    raise WeightsUnreachableError(
        f"The weights {tag!r} of {architecture} cannot be fetched from {source}: {why}.",
        advice=f"Fetch the checkpoint{names} where that address can be reached and export it here with\n"
        f"  --architecture {architecture} --pretrained FILE "
        f"{'--quickgelu' if entry.get('quick_gelu') else '--no-quickgelu'}\n"
        "or make a model of the same shape for a demo (its embeddings mean nothing) with\n"
        "  --random-weights",
    )
