"""Log lines end as the command line that follows them expects, and come at most once a second."""

import logging
import re

import pytest

from clipmodel_sync.progress import Progress

LINE = re.compile(r" (\d+|\?) % (\d+(?:\.\d)? k?M?G?B) of (\d+(?:\.\d)? k?M?G?B|\?) (\d+(?:\.\d)? k?M?G?B)/s$")


def test_at_most_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    progress = Progress("https://host/vit.onnx", clock=lambda: now)
    for step in range(1, 301):
        now = 100 + step / 100
        progress.update(step * 1_000_000, 351_000_000)
    progress.finish(351_000_000)
    lines = caplog.messages
    assert len(lines) == 4
    assert all(LINE.search(line) for line in lines)
    assert lines[0].endswith(" 28 % 100.0 MB of 351.0 MB 100.0 MB/s")
    assert lines[-1].endswith(" 100 % 351.0 MB of 351.0 MB 117.0 MB/s")


def test_an_unknown_length_and_a_resumed_download(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    progress = Progress("https://host/vit.onnx", clock=lambda: now)
    progress.start(500_000)
    now = 2.0
    progress.update(2_500_000, None)
    assert caplog.messages[0].endswith(" ? % 2.5 MB of ? 1.0 MB/s")
