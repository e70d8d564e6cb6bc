"""How does what a file asks for stand to the revisions in status: is it the target, the proven one again, another one, or a new tolerance alone? Pure.

A revision is all that decides what servers answer: the configuration of each profile, the digests of the versions, and the tolerance. Its id is made in the
cluster; here contents are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.rollout import RolloutStrategy
from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.api.v1alpha1.status import RolloutStatus
from clipmodel_operator.planning.expected import Expected


def is_config(key: str) -> bool:
    """Tell whether an entry of the ConfigMap is the configuration of a profile."""
    return key.endswith(".pbtxt")


class Ask(StrEnum):
    """What a file asks for."""

    TARGET = "Target"
    """What the spec in the cluster asks for, too."""
    OTHER = "Other"
    """Another revision."""
    TOLERANCE = "Tolerance"
    """The same with another tolerance."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What decides what servers answer."""

    configs: frozenset[str]
    """Which versions serve is in them, and the bytes of a version never change."""
    tolerance: float


@dataclass(frozen=True, slots=True)
class Revisions:
    """What status says of revisions, and what the file asks for."""

    status: RolloutStatus
    ask: Ask
    strategy: RolloutStrategy
    is_observed: bool = True
    """Status is of the spec that is in the cluster."""
    is_beyond_pods: bool = False
    """Pods of the present template cannot hold it: it is of another profile, or of more GPUs."""

    @property
    def is_reached(self) -> bool:
        """Tell whether pods have proven what status calls the target."""
        return self.status.phase is None and self.status.proven_revision == self.status.target_revision

    @property
    def goes_by_new_pods(self) -> bool:
        """Tell whether the strategy alone has pods replaced."""
        return self.strategy is RolloutStrategy.REPLACE and self.ask is Ask.OTHER and bool(self.status.proven_revision)


def answers_of(model: ClipModel, expected: Expected) -> Answers:
    """Take what decides about answers out of what the operator would make of a spec."""
    return Answers(
        configs=frozenset(text for o in expected.objects for text in _configs(o)),
        tolerance=model.spec.verification.min_cosine,
    )


def _configs(obj: Mapping[str, Any]) -> list[str]:
    data = (obj.get("data") or {}) if obj["kind"] == "ConfigMap" else {}
    return [text for key, text in data.items() if is_config(key)]


def compare_answers(asked: Answers, wanted: Answers) -> Ask:
    """Say how what is asked for stands to what the spec in the cluster wants."""
    if asked.configs != wanted.configs:
        return Ask.OTHER
    return Ask.TARGET if asked.tolerance == wanted.tolerance else Ask.TOLERANCE


def _is_beyond(model: ClipModel, present: ClipModel) -> bool:
    def gpus(of: ClipModel) -> int:
        return of.spec.serving.gpu.count if of.spec.serving.gpu else 1

    if model.spec.profile is not present.spec.profile:
        return True
    return model.spec.profile is Profile.GPU and gpus(model) > gpus(present)


def assess_revisions(
    model: ClipModel, expected: Expected, *, present: ClipModel, wanted: Expected, is_config_new: bool
) -> Revisions | None:
    """Compare what a file asks for (`model`, `expected`) with what the spec in the cluster wants; None where status knows of no revisions.

    `is_config_new`: the file's configuration is another one than starting pods read.
    """
    if present.status.rollout is None:
        return None
    found = Revisions(
        status=present.status.rollout,
        ask=compare_answers(answers_of(model, expected), answers_of(present, wanted)),
        strategy=model.spec.rollout.strategy,
        is_observed=present.status.observed_generation == present.generation,
        is_beyond_pods=_is_beyond(model, present),
    )
    # The target of status is of a spec before this one, or without the versions that are not synced yet.
    is_ahead = not found.is_observed or (found.is_reached and expected.before != expected.serving)
    return replace(found, ask=Ask.OTHER) if found.ask is Ask.TARGET and is_config_new and is_ahead else found
