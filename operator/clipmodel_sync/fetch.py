"""How patient a fetch is, and which of the two ways it goes.

Whether the bytes are the wanted ones is not asked here: the digest says so.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipmodel_contract.source_uri import HttpUri
from clipmodel_sync.sources import ClaimSource
from clipmodel_sync.volume import StagedFile


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How patient a fetch is. Tests are less so."""

    tries: int = 3
    connect_timeout_seconds: float = 10
    # Between two pieces of the body, not for all of it: the Job has a deadline for that.
    read_timeout_seconds: float = 60
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def fetch(source: HttpUri | ClaimSource, *, file: StagedFile, root: Path, options: FetchOptions) -> bool:
    """Write the source's bytes into the staged file; say whether they were joined from several answers.

    Raises:
        SyncError: with a reason of the source or of the volume.

    """
    from clipmodel_sync import claim, web

    match source:
        case HttpUri():
            return web.Download(source, file=file, root=root, options=options).run()
        case ClaimSource():
            claim.copy(source, file=file, root=root, clock=options.clock)
            return False
