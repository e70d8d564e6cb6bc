"""Where everything is on a model's volume (docs/spec/sync.md, the volume), and where containers have it mounted. Paths only: nothing is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipmodel_contract.names import candidate_name

#: Triton's model repository: what its pods mount, by subPath.
REPOSITORY: Final = "repository"
#: What is not finished: outside the repository, on the same file system.
STAGING: Final = "staging"
#: A report of each version that was synced.
STATE: Final = ".state"
#: In a model's directory: empty, where the ConfigMap's configs are mounted over it.
CONFIGS: Final = "configs"
MODEL_FILE: Final = "model.onnx"

#: Where a sync Job has the whole volume, and claims that are sources, each under its name.
VOLUME_MOUNT: Final = "/volume"
SOURCE_MOUNT: Final = "/source"
#: Where a Triton pod has the repository.
REPOSITORY_MOUNT: Final = "/models"


@dataclass(frozen=True, slots=True)
class VersionLayout:
    """The paths of one version of one model, on the volume whose root is `root`."""

    root: Path
    model: str
    version: int

    @property
    def repository(self) -> Path:
        return self.root / REPOSITORY

    @property
    def model_directory(self) -> Path:
        return self.repository / self.model

    @property
    def version_directory(self) -> Path:
        return self.model_directory / str(self.version)

    @property
    def version_file(self) -> Path:
        return self.version_directory / MODEL_FILE

    @property
    def candidate_directory(self) -> Path:
        """The version again, by a hard link, under the name that traffic never reaches."""
        return self.repository / candidate_name(self.model) / str(self.version)

    @property
    def configs_directory(self) -> Path:
        return self.model_directory / CONFIGS

    @property
    def staging(self) -> Path:
        return self.root / STAGING / f"{self.model}-{self.version}"

    @property
    def lock_file(self) -> Path:
        return self.root / STAGING / f"{self.model}-{self.version}.lock"

    @property
    def state_file(self) -> Path:
        return self.root / STATE / f"{self.version}.json"
