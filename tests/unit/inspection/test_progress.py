"""The lines are those that clipmodel_sync writes (tests/unit/sync/test_progress.py holds it to docs/spec/sync.md)."""

from __future__ import annotations

import logging

import pytest

from clipmodel_operator.inspection.progress import Progress, parse_progress
from clipmodel_sync import progress as sync_progress

URL = "fetching http://models.example.com/vit b 32.onnx"

CASES = {
    "nothing is said yet": ("", None),
    "empty lines say nothing": ("\n \n", None),
    "a download says its share, rate and what is left": (
        f"{URL}: 42 % 150.0 MB of 350.0 MB 25.0 MB/s\n",
        Progress("fetching", 42, "150.0 MB", "350.0 MB", "25.0 MB", 8),
    ),
    "the last line counts": (
        f"{URL}: 1 % 1.0 MB of 100.0 MB 1.0 MB/s\n{URL}: 2 % 2.0 MB of 100.0 MB 1.0 MB/s\n",
        Progress("fetching", 2, "2.0 MB", "100.0 MB", "1.0 MB", 98),
    ),
    "units may differ": (
        f"{URL}: 0 % 900.0 kB of 1.0 GB 999 B/s",
        Progress("fetching", 0, "900.0 kB", "1.0 GB", "999 B", 1_000_100),
    ),
    "without a length there is no share": (
        f"{URL}: ? % 1.2 MB of ? 3.0 MB/s",
        Progress("fetching", done="1.2 MB", rate="3.0 MB"),
    ),
    "no time is told at no speed": (
        f"{URL}: 0 % 0 B of 10 B 0 B/s",
        Progress("fetching", 0, "0 B", "10 B", "0 B", None),
    ),
    "after the download the Job's own words are shown": (
        f"{URL}: 100 % 10 B of 10 B 1 B/s\nchecking the model's tensors\n",
        Progress("checking the model's tensors"),
    ),
    "a line that is cut off is shown as it is": (f"{URL}: 42 % 15", Progress(f"{URL}: 42 % 15")),
}


@pytest.mark.parametrize(("log", "expected"), CASES.values(), ids=CASES)
def test_the_log_tells_how_far_it_is(log: str, expected: Progress | None) -> None:
    assert parse_progress(log) == expected


def test_what_the_sync_program_writes_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([0.0, 2.0, 2.0])
    told = sync_progress.Progress("https://models.example.com/one.onnx", clock=lambda: next(times))
    with caplog.at_level(logging.INFO):
        told.update(50_000_000, 351_461_235)
    read = parse_progress(caplog.records[-1].getMessage())
    assert read == Progress("fetching", 14, "50.0 MB", "351.5 MB", "25.0 MB", 12)
