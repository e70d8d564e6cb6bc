"""Several workers side by side (pytest-xdist): who gets which file, and what waits until it is alone.

Loaded by `pytest_parts`. A file is one worker's: what it has brought up serves all its tests. Files are handed out in the order of the run, the
next one to whoever is through with his. Tests marked `alone` come last, and wait until every other worker has ended.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.workermanage import WorkerController

ALONE = "alone"
#: A worker's name, where there is none but the one process.
MAIN = "main"

_held: list[IO[str]] = []  # this worker's lock: whoever can take it knows that the worker has ended, whatever ended it
_folder: list[tempfile.TemporaryDirectory[str]] = []


def worker_name() -> str:
    """Name the worker that this process is."""
    return os.environ.get("PYTEST_XDIST_WORKER", MAIN)


def is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker(ALONE) is not None


def _locks(config: pytest.Config) -> Path | None:
    """Give the folder of the workers' locks; there is none in a run without workers."""
    found = getattr(config, "workerinput", {}).get("locks")
    return Path(found) if found else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc]  # without xdist's types it is Any
        """Hand out a file at a time, in the order of the run."""

        def _reschedule(self, node: WorkerController) -> None:
            # A worker keeps its last test back until it knows what follows. xdist hands out the next file two tests before that: then it
            # would wait behind them, while another worker has nothing to do.
            is_busy = self.workqueue and self._pending_of(self.assigned_work[node]) > 1
            if node.shutting_down or not is_busy:
                super()._reschedule(node)

    config.option.loadscopereorder = False
    return Files(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    if not _folder:
        _folder.append(tempfile.TemporaryDirectory(prefix="clipmodel-test-"))
    node.workerinput["locks"] = _folder[0].name


def pytest_sessionstart(session: pytest.Session) -> None:
    folder = _locks(session.config)
    if folder is not None:
        file = (folder / worker_name()).open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        _held.append(file)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Let the others know: a worker's process lives on until all are through."""
    for file in _held:
        file.close()
    _held.clear()


def pytest_unconfigure() -> None:
    for folder in _folder:
        folder.cleanup()
    _folder.clear()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait until this worker is alone (outermost, as the wait for the cluster: it counts for no test)."""
    folder = _locks(item.config)
    if folder is not None and is_alone(item):
        for path in sorted(folder.iterdir()):
            if path.name != worker_name():
                with path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_SH)
    return (yield)
