"""Names that several programs make from others: the model's in Triton, and the candidate's, under which a version is proven."""

from __future__ import annotations

from typing import Final

CANDIDATE_SUFFIX: Final = "__candidate"


def default_model_name(clip_model: str) -> str:
    """Give Triton's name of the model of a ClipModel whose `spec.modelName` is not set."""
    return clip_model.replace("-", "_")


def candidate_name(model: str) -> str:
    """Give the name that no client asks for, under which a server proves a version of `model` before it serves it."""
    return f"{model}{CANDIDATE_SUFFIX}"


def is_candidate_name(model: str) -> bool:
    """Say whether a name is kept for candidates; no model may be called so."""
    return model.endswith(CANDIDATE_SUFFIX)
