"""What the ConfigMap says: three revisions, and all that is known of any version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipmodel_contract.report import VersionRecord
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.spaces import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is committed. Nothing before the first sync."""

    boot: Revision | None = None
    """What a starting pod reads: what is proven; the target, where nothing is, and on trial, where what is proven does not start."""
    proven: Revision | None = None
    """The last that pods have proven."""
    previous: Revision | None = None
    """The one before: a pod may have started with it, for mounted files lag."""
    slot: str = ""
    """Which of the two ConfigMaps starting pods read (see rendering.config_map)."""
    records: tuple[VersionRecord, ...] = ()
    spaces: tuple[EmbeddingSpace, ...] = ()

    @property
    def serving(self) -> Revision | None:
        """Give what pods should serve, as far as anything is known: what is proven, or what the first pods are to prove."""
        return self.proven or self.boot

    @property
    def versions(self) -> tuple[int, ...]:
        """List the versions of it."""
        return self.serving.versions if self.serving is not None else ()

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """List the three, each once; what counts first comes first."""
        found = {r.id: r for r in (self.boot, self.proven, self.previous) if r is not None}
        return tuple(found.values())


def find_revision(revisions: Sequence[Revision], *, profile: str, config_id: str) -> Revision | None:
    """Find the revision of which a server of a profile runs the config."""
    return next((r for r in revisions if config_id and r.config_ids.get(profile) == config_id), None)
