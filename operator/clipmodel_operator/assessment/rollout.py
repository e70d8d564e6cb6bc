"""Which versions should serve: the policy's choice, as far as it is synced, proven, and of a space that may follow.

Until all that the policy chooses can serve, what is committed goes on, so that nothing is taken away for something that may fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipmodel_contract.report import Failure, VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SpaceLock, VersionPolicy
from clipmodel_operator.models import reasons
from clipmodel_operator.models.spaces import EmbeddingSpace, find_space, similarity


@dataclass(frozen=True, slots=True)
class Target:
    """What should serve now, and what the policy chooses in the end."""

    chosen: tuple[int, ...]
    versions: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        return self.chosen == self.versions


def choose(policy: VersionPolicy, versions: Sequence[int]) -> tuple[int, ...]:
    """Apply the policy to version numbers."""
    ordered = sorted(versions)
    if policy.specific is not None:
        return tuple(v for v in ordered if v in policy.specific.versions)
    if policy.all is not None:
        return tuple(ordered)
    count = policy.latest.count if policy.latest is not None else 1
    return tuple(ordered[-count:])


def plan_target(
    policy: VersionPolicy, *, versions: Sequence[int], usable: Sequence[int], committed: Sequence[int]
) -> Target:
    """Say what should serve: of the spec's `versions`, those that are `usable` now, beside what is `committed`."""
    chosen = choose(policy, versions)
    if all(v in usable for v in chosen):
        return Target(chosen, chosen)
    if committed:
        return Target(chosen, tuple(sorted({*committed, *(v for v in chosen if v in usable)})))
    return Target(chosen, choose(policy, usable))


def check_space(
    model: ClipModel,
    record: VersionRecord,
    *,
    spaces: Sequence[EmbeddingSpace],
    serving: Sequence[VersionRecord],
) -> Failure | None:
    """Refuse a version whose embeddings cannot be compared with those that serve, unless that was said to be wanted.

    `newEmbeddingSpace` on a version draws a line before it; who has drawn it may cross it in either direction. Where nothing serves there is
    nothing to compare with.
    """
    min_cosine = model.spec.verification.min_cosine
    if model.spec.verification.embedding_space is SpaceLock.UNLOCKED:
        return None
    lines = [v.version for v in model.spec.versions if v.new_embedding_space]
    for other in serving:
        low, high = sorted((record.version, other.version))
        anchor = find_space(other, spaces, min_cosine=min_cosine)
        found = similarity(record, anchor) if anchor is not None else 1.0
        if found < min_cosine and not any(low < line <= high for line in lines):
            message = (
                f"its embeddings are of another space than those of version {other.version}: cosine {found:.4f}, at least {min_cosine} "
                f"expected. If stored vectors are to be made anew, set newEmbeddingSpace: true on version {high}."
            )
            return Failure(reasons.EMBEDDING_SPACE_MISMATCH, message, is_final=True, version=record.version)
    return None


def space_ids(
    records: Sequence[VersionRecord], spaces: Sequence[EmbeddingSpace], *, min_cosine: float
) -> Mapping[int, str]:
    """Name each version's space."""
    found = {r.version: find_space(r, spaces, min_cosine=min_cosine) for r in records}
    return {version: space.id for version, space in found.items() if space is not None}
