"""GELU or QuickGELU? A checkpoint does not say which it was trained with, and the wrong one goes unnoticed.

The two curves differ by at most 0.02, so a model with the wrong one loads, runs and answers almost right:
laion400m_e32 falls from 62.93 to 60.24 % on ImageNet. OpenCLIP's table says it for tags; for files this module
looks for evidence, and where there is none it asks instead of guessing. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clipmodel_export.errors import QuickGeluError


@dataclass(frozen=True, slots=True)
class Activation:
    """The choice, and the sentence that says why."""

    quick_gelu: bool
    because: str

    @property
    def name(self) -> str:
        return "QuickGELU" if self.quick_gelu else "GELU"


def decide_for_tag(*, tag: str, table_says: bool, asked: bool | None) -> Activation:
    """Follow OpenCLIP's table.

    Raises:
        QuickGeluError: the user asked for the other one.

    """
    activation = Activation(table_says, f"OpenCLIP's table says so for {tag}")
    if asked is not None and asked != table_says:
        raise QuickGeluError(
            f"{_flag(quick_gelu=asked)} was given, but {tag} was trained with {activation.name}.",
            advice="Leave the option out: tags know their activation. "
            "With the other one the embeddings would be silently wrong.",
        )
    return activation


def decide_for_random(*, architecture_says: bool, asked: bool | None) -> Activation:
    """Follow the user, then the architecture: with random weights both are equally meaningless."""
    if asked is not None:
        return Activation(asked, f"{_flag(quick_gelu=asked)} was given")
    return Activation(architecture_says, "the architecture says so")


def decide_for_file(
    path: Path,
    *,
    architecture: str,
    architecture_says: bool,
    is_torchscript: bool,
    tags: Mapping[str, bool],
    asked: bool | None,
) -> Activation:
    """Take the user's word, then evidence: the file's format, the architecture's name, the file's name.

    Raises:
        QuickGeluError: there is no evidence and no word, or they disagree.

    """
    if is_torchscript:
        evidence = Activation(quick_gelu=True, because="only OpenAI published TorchScript archives")
    elif architecture_says:
        evidence = Activation(quick_gelu=True, because=f"{architecture} is a QuickGELU architecture")
    else:
        known = find_tags(path, tags)
        answers = {tags[tag] for tag in known}
        if len(answers) != 1:
            if asked is not None:
                return Activation(asked, f"{_flag(quick_gelu=asked)} was given")
            raise QuickGeluError(
                f"{path.name} does not say whether it was trained with GELU or QuickGELU, and the wrong one "
                "gives silently wrong embeddings.",
                advice="Add --quickgelu (openai, metaclip, and laion400m for ViT-B-32) or --no-quickgelu "
                "(laion2b, datacomp, commonpool), as the place that you have it from says.",
            )
        evidence = Activation(answers.pop(), f"its name says that it is {known[0]}")
    if asked is not None and asked != evidence.quick_gelu:
        raise QuickGeluError(
            f"{_flag(quick_gelu=asked)} was given, but {path.name} looks like {evidence.name}: {evidence.because}.",
            advice="Leave the option out if that is right; otherwise rename the file, or use the architecture "
            "without -quickgelu.",
        )
    return evidence


def find_tags(path: Path, tags: Mapping[str, bool]) -> list[str]:
    """Name the tags that a file's name (or its folder in the hub's cache) points to, the most exact ones."""
    parts = [path.name, *(part for part in path.parts if part.startswith("models--"))]
    text = _letters(" ".join(parts))
    exact = [tag for tag in tags if _letters(tag) in text]
    if exact:
        return exact
    # `metaclip-b32.pt` says metaclip, not which of its tags.
    return [tag for tag in tags if len(tag.split("_")[0]) > len("yfcc") and _letters(tag.split("_")[0]) in text]


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _flag(*, quick_gelu: bool) -> str:
    return "--quickgelu" if quick_gelu else "--no-quickgelu"
