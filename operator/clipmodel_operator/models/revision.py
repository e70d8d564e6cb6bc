"""A revision: everything that decides what a Triton server answers. Two specs that render the same revision are the same to pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
"""A Triton ModelConfig, in the JSON that a load sends."""


@dataclass(frozen=True, slots=True)
class Revision:
    """Configs with their versions, the digests of those, and the tolerance by which they are proven."""

    id: str
    """Hash of the config ids, the digests and the tolerance; of no golden vectors, whose last digits change with each sync."""
    settings: str
    """Hash of all of it but versions and digests: a version that fails by these settings may serve by others."""
    configs: Mapping[str, Config]
    """Of each profile."""
    config_ids: Mapping[str, str]
    """The hash that each profile's config carries."""
    digests: Mapping[int, str]
    """SHA-256 of each version."""
    min_cosine: float
    """Smallest cosine to the golden vectors."""

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(sorted(self.digests))

    def proof_of(self, profile: str) -> str:
        """Name what a server of a profile proves when it proves this revision: another tolerance, or other bytes, is another proof of the same config."""
        bytes_of = ",".join(f"{v}:{self.digests[v]}" for v in self.versions)
        return f"{self.config_ids.get(profile, '')}/{self.min_cosine}/{bytes_of}"
