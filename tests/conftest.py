"""For all tests: no telemetry, one way to rewrite golden files, and a hypothesis that does not watch the clock."""

from __future__ import annotations

import os

# Before anything can load onnxruntime or a Hugging Face library.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import hypothesis
import pytest

# No deadline: beside other work on the same cores it fails good code. Few examples, for all fast tests together are to take less than a minute;
# a long look is CLIPMODEL_TEST_EXAMPLES=1000.
_EXAMPLES = int(os.environ.get("CLIPMODEL_TEST_EXAMPLES", "40"))
hypothesis.settings.register_profile("tests", deadline=None, print_blob=True, max_examples=_EXAMPLES)


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Load the profile last: whoever loaded another before does not mean these tests."""
    hypothesis.settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite tests/golden/*/expected: look at the difference before you commit it",
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))
