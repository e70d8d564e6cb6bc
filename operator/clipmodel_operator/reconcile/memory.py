"""What the operator remembers of each ClipModel between passes, and forgets with it: the one owner of such memory.

Nothing here is needed to come back to the same state; an operator that starts anew finds it out again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clipmodel_operator.models.names import Key


@dataclass(slots=True)
class ModelMemory:
    """Of one ClipModel: of one uid, for a successor of its name is another one."""

    uid: str
    refused_since: datetime | None = None
    """When a surge pod was first seen to be refused."""
    told: Mapping[str, Any] | None = None
    """The status that was written last, as it was sent: its own event is no news."""


class Memory:
    """The memories of all ClipModels, by key."""

    def __init__(self, *, forget_uid: Callable[[str], None]) -> None:
        """Take what else keeps something by uid, to tell it of a uid that is gone."""
        self._forget_uid = forget_uid
        self._models: dict[Key, ModelMemory] = {}

    def of(self, key: Key, uid: str) -> ModelMemory:
        """Give the memory of a ClipModel; an empty one where there is none, or where it is of a predecessor."""
        known = self._models.get(key)
        if known is not None and known.uid == uid:
            return known
        self.forget(key)
        made = self._models[key] = ModelMemory(uid)
        return made

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a key that is gone."""
        known = self._models.pop(key, None)
        if known is not None:
            self._forget_uid(known.uid)

    def told(self, key: Key, uid: str) -> Mapping[str, Any] | None:
        """Give the status that was written last to this very object; None where none was."""
        known = self._models.get(key)
        return known.told if known is not None and known.uid == uid else None

    def __len__(self) -> int:
        """Count the ClipModels of which something is remembered."""
        return len(self._models)
