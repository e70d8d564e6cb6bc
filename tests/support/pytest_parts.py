"""The parts of a test run: in which order they come, how long each takes, and where the wait for the cluster goes.

Loaded by the Makefile (`pytest -p support.pytest_parts`). Tests need nothing of it: started by hand, they run in pytest's order. What needs the
cluster or the images (the markers `cluster` and `triton`) comes last, and waits for the job that brings both up (hack/test.sh), so that
everything else runs meanwhile. The wait counts for no test, so that no timeout of a test can end it.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

ORDER = ("check", "unit", "golden", "property", "sequence", "border", "export", "triton", "cluster")
NEEDS = ("cluster", "triton")
LONGEST_WAIT_S = 45 * 60  # a cold start took 9 min on 2 cores; the rest is for slow networks
POLL_S = 0.5

_seconds: defaultdict[str, float] = defaultdict(float)
_outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
_problem: list[str] = []  # why the cluster is not there; empty as long as nothing is wrong
_waited: list[float] = []


def part(path: Path, root: Path) -> str:
    """Name the part that a test belongs to: its folder under tests/."""
    inner = path.relative_to(root / "tests").parts if path.is_relative_to(root / "tests") else path.parts
    return inner[0] if len(inner) > 1 else "other"


def rank(name: str) -> int:
    """Order known parts as listed, unknown ones before those that are slow."""
    return ORDER.index(name) if name in ORDER else ORDER.index("export")


def _needs_cluster(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in NEEDS)


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
    """Put the quick parts first; within a part the order stays."""
    items.sort(key=lambda item: (_needs_cluster(item), rank(part(item.path, config.rootpath))))


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
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    shown = 0
    deadline = time.monotonic() + LONGEST_WAIT_S
    while True:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        over = ended.exists() or time.monotonic() > deadline
        if reporter and (not over or shown):  # quiet when there was nothing to wait for
            if not shown:
                reporter.ensure_newline()
                reporter.write_line("waiting for cluster and images:")
            for line in lines[shown:]:
                if line.startswith("["):  # the steps, not what the tools say
                    reporter.write_line("  " + line)
            shown = max(len(lines), 1)
        if over:
            break
        time.sleep(POLL_S)
    status = ended.read_text().strip() if ended.exists() else "it took too long"
    if status != "0":
        if reporter:
            reporter.write_sep("-", f"end of {log}")
            reporter.write_line("\n".join(lines[-30:]))
        _problem.append(f"cluster and images did not come up ({status}): see {log}")


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what each part took and how it ended."""
    name = part(Path(report.nodeid.partition("::")[0]), Path())
    _seconds[name] += report.duration
    if report.when == "call" or report.outcome != "passed":
        _outcomes[name][report.outcome] += 1


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds of each part."""
    if not _seconds:
        return
    terminalreporter.write_sep("=", "seconds of each part")
    for name in sorted(_seconds, key=rank):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(_outcomes[name].items()))
        terminalreporter.write_line(f"{_seconds[name]:8.1f}  {name:<10} {counts}")
    if _waited:
        terminalreporter.write_line(f"{_waited[0]:8.1f}  waiting for cluster and images")
