"""The parts of a test run: in which order they come, how long each takes, and where the wait for the cluster goes.

Loaded by the Makefile (`pytest -p support.pytest_parts`). Tests need nothing of it: started by hand, they run in pytest's order. What needs the
cluster or the images (the markers `cluster` and `triton`) comes last, and waits for the job that brings both up (hack/test.sh), so that
everything else runs meanwhile. The wait counts for no test, so that no timeout of a test can end it. Beside each other: `pytest_lanes`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import pytest_lanes
from support.pytest_lanes import is_alone

if TYPE_CHECKING:
    from collections.abc import Generator

ORDER = ("check", "unit", "golden", "property", "sequence", "border", "export", "triton", "api", "cluster")
#: The files of each part that take longest, longest first: begun early, so that in the end no worker is left alone with one.
LONGEST = (
    "tests/sequence/test_walk.py",
    "tests/sequence/test_faults.py",
    "tests/sequence/test_disorder.py",
    "tests/export/test_small_tower.py",
    "tests/export/test_vit_b32.py",
    "tests/cluster/test_profiles.py",
    "tests/cluster/test_live.py",
    "tests/cluster/test_rolling.py",
    "tests/cluster/test_command_line.py",
    "tests/cluster/test_life.py",
    "tests/cluster/test_repair.py",
    "tests/cluster/test_thin_path.py",
    "tests/cluster/test_chaos.py",
    "tests/cluster/test_failures.py",
)
NEEDS = ("cluster", "triton")
LONGEST_WAIT_S = 45 * 60  # a cold start took 9 min on 2 cores; the rest is for slow networks
POLL_S = 0.5

_seconds: defaultdict[str, float] = defaultdict(float)
_spans: dict[str, tuple[float, float]] = {}
_outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
_problem: list[str] = []  # why the cluster is not there; empty as long as nothing is wrong
_waited: list[float] = []
_shows: list[threading.Thread] = []  # the controller's, which looks every POLL_S


def part(path: Path, root: Path) -> str:
    """Name the part that a test belongs to: its folder under tests/."""
    inner = path.relative_to(root / "tests").parts if path.is_relative_to(root / "tests") else path.parts
    return inner[0] if len(inner) > 1 else "other"


def rank(name: str) -> int:
    """Order known parts as listed, unknown ones before those that are slow."""
    return ORDER.index(name) if name in ORDER else ORDER.index("export")


def _needs_cluster(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in NEEDS)


def _turn(item: pytest.Item, root: Path) -> tuple[bool, bool, int, int]:
    file = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
    length = LONGEST.index(file) if file in LONGEST else len(LONGEST)
    return is_alone(item), _needs_cluster(item), rank(part(item.path, root)), length


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.register(pytest_lanes, pytest_lanes.__name__)


def pytest_configure() -> None:
    """Take the clock away from hypothesis: beside a compiler on the same cores, its deadline of 0.2 s fails good code."""
    try:
        from hypothesis import settings
    except ImportError:
        return
    settings.register_profile("parts", deadline=None)
    settings.load_profile("parts")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the quick parts first; within a part the order stays, but for the files that take longest."""
    items.sort(key=lambda item: _turn(item, config.rootpath))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for cluster and images before the first test that needs them (outermost: no timeout of the test runs yet)."""
    ended = os.environ.get("CLIPMODEL_TEST_ENDED")
    if ended and not _waited and _needs_cluster(item):
        began = time.monotonic()
        _wait(item.config, Path(ended), Path(os.environ["CLIPMODEL_TEST_LOG"]))
        _waited.append(time.monotonic() - began)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail what needs a cluster when there is none, in one line."""
    if _problem and _needs_cluster(item):
        pytest.fail(_problem[0], pytrace=False)


def _wait(config: pytest.Config, ended: Path, log: Path) -> None:
    """Wait until both are there, or are known not to come. A worker has no terminal: it lets the controller know that it waits, which shows the steps."""
    is_worker = hasattr(config, "workerinput")
    if is_worker and not ended.exists():
        _awaited(ended).touch()
    _show_until_ended(None if is_worker else _Terminal(config), ended, log)
    status = ended.read_text().strip() if ended.exists() else "it took too long"
    if status != "0":
        _problem.append(f"cluster and images did not come up ({status}): see {log}")


def _awaited(ended: Path) -> Path:
    return ended.with_name(f"{ended.name}.awaited")


class _Terminal:
    """Shows what the job says that brings up cluster and images."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._shown = 0

    def show(self, lines: list[str]) -> None:
        """Show the steps, not what the tools say."""
        if not self._reporter:
            return
        if not self._shown:
            self._reporter.ensure_newline()
            self._reporter.write_line("waiting for cluster and images:")
        for line in lines[self._shown :]:
            if line.startswith("["):
                self._reporter.write_line("  " + line)
        self._shown = max(len(lines), 1)

    def end(self, lines: list[str], *, log: Path, is_well: bool) -> None:
        if self._shown:  # quiet when there was nothing to wait for
            self.show(lines)
        if self._reporter and not is_well:
            self._reporter.write_sep("-", f"end of {log}")
            self._reporter.write_line("\n".join(lines[-30:]))


def _show_until_ended(terminal: _Terminal | None, ended: Path, log: Path) -> None:
    deadline = time.monotonic() + LONGEST_WAIT_S
    while True:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        if ended.exists() or time.monotonic() > deadline:
            break
        if terminal:
            terminal.show(lines)
        time.sleep(POLL_S)
    if terminal:
        terminal.end(lines, log=log, is_well=ended.exists() and ended.read_text().strip() == "0")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Show the steps from the first moment at which a worker waits."""
    ended = os.environ.get("CLIPMODEL_TEST_ENDED")
    if not ended:
        return
    path, log, terminal = Path(ended), Path(os.environ["CLIPMODEL_TEST_LOG"]), _Terminal(config)
    _awaited(path).unlink(missing_ok=True)

    def show() -> None:
        while not _awaited(path).exists():
            if path.exists() and path.read_text().strip() == "0":
                return
            if path.exists():
                break
            time.sleep(POLL_S)
        _show_until_ended(terminal, path, log)

    thread = threading.Thread(target=show, daemon=True)
    _shows.append(thread)
    thread.start()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None and _waited:
        output["waited"] = _waited[0]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    waited = (getattr(node, "workeroutput", None) or {}).get("waited")
    if waited is not None:
        _waited.append(waited)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what each part took and how it ended."""
    name = part(Path(report.nodeid.partition("::")[0]), Path())
    _seconds[name] += report.duration
    begin, end = _spans.get(name, (report.start, report.stop))
    _spans[name] = min(begin, report.start), max(end, report.stop)
    if report.when == "call" or report.outcome != "passed":
        _outcomes[name][report.outcome] += 1


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds of each part: of all its tests together, and from the begin of its first to the end of its last."""
    if not _seconds:
        return
    if os.path.exists(os.environ.get("CLIPMODEL_TEST_ENDED", "")):  # noqa: PTH110 - an empty path is none
        for thread in _shows:  # a run that ends at once has its words, too
            thread.join(timeout=10 * POLL_S)
    terminalreporter.write_sep("=", "seconds of each part (all tests together, from first to last)")
    for name in sorted(_seconds, key=rank):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(_outcomes[name].items()))
        begin, end = _spans[name]
        terminalreporter.write_line(f"{_seconds[name]:8.1f} {end - begin:8.1f}  {name:<10} {counts}")
    if _waited:
        terminalreporter.write_line(f"{max(_waited):8.1f}           waiting for cluster and images")
