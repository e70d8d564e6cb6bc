"""How a test run waits for its cluster, seen from outside: a small project of its own, run by pytest with the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\nmarkers =\n  alone: waits\n  cluster: needs a cluster\n  triton: needs Docker\naddopts = -p support.pytest_parts -rN"
    )
    for folder, marker in (("cluster", "@pytest.mark.cluster\n"), ("unit", "")):
        path = pytester.path / "tests" / folder
        path.mkdir(parents=True)
        (path / f"test_{folder}.py").write_text(f"import pytest\n{marker}def test_one(): pass\n")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("CLIPMODEL_TEST_ENDED", str(pytester.path / "ended"))
    monkeypatch.setenv("CLIPMODEL_TEST_LOG", str(pytester.path / "log"))
    return pytester


def test_what_needs_no_cluster_comes_first_and_each_part_is_timed(project: pytest.Pytester) -> None:
    (project.path / "ended").write_text("0")
    result = project.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "tests/unit/*PASSED*",
            "tests/cluster/*PASSED*",
            "*seconds of each part*",
            "* unit *1 passed",
            "* cluster *1 passed",
        ]
    )


def test_without_a_cluster_what_needs_one_fails_in_a_line_and_the_rest_runs(project: pytest.Pytester) -> None:
    (project.path / "ended").write_text("7")
    (project.path / "log").write_text("[1s] up.sh: creating\nno space left on device\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["no space left on device", "cluster and images did not come up (7): see *log"])


def test_the_wait_shows_the_steps_and_is_no_part_of_a_test(project: pytest.Pytester) -> None:
    (project.path / "log").write_text("[1s] up.sh: creating\nchatter of a tool\n")
    # The first pause of the wait ends it, and everything that happens is noted: nothing here depends on how long anything takes.
    project.makeconftest("""
        from pathlib import Path
        from support import pytest_parts

        happened = []

        def pause(seconds):
            happened.append("wait")
            Path("ended").write_text("0")

        pytest_parts.time.sleep = pause

        def pytest_timeout_set_timer(item, settings):
            happened.append("timer of " + item.path.stem)

        def pytest_terminal_summary(terminalreporter):
            terminalreporter.write_line("happened: " + ", ".join(happened))
    """)
    result = project.runpytest_subprocess("-p", "pytest_timeout", "--timeout=60")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["waiting for cluster and images:", "*[[]1s] up.sh: creating"])
    result.stdout.no_fnmatch_line("*chatter*")
    result.stdout.fnmatch_lines(["happened: timer of test_unit, wait, timer of test_cluster"])


def test_workers_share_the_files_and_what_is_alone_waits_for_the_others(project: pytest.Pytester) -> None:
    """One worker is held up in its file; the other one, with nothing left but the test that must be alone, waits for it."""
    (project.path / "ended").write_text("0")
    tests = project.path / "tests" / "cluster"
    write = "from pathlib import Path\nimport pytest, time\n\ndef note(text):\n    with Path('order').open('a') as file: file.write(text + ' ')\n\n"
    (tests / "test_a_long.py").write_text(
        write + "@pytest.mark.cluster\ndef test_long():\n"
        "    while not Path('quick').exists(): time.sleep(0.01)\n    note('long')\n"
    )
    (tests / "test_b_quick.py").write_text(
        write
        + "@pytest.mark.cluster\n@pytest.mark.parametrize('n', range(3))\ndef test_quick(n): Path('quick').touch()\n"
    )
    (tests / "test_a_alone.py").write_text(
        write
        + "@pytest.mark.alone\n@pytest.mark.cluster\n@pytest.mark.parametrize('n', range(2))\ndef test_alone(n): note('alone')\n"
    )
    result = project.runpytest_subprocess("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=8)
    assert (project.path / "order").read_text().split() == ["long", "alone", "alone"]
    result.stdout.fnmatch_lines(["* cluster *7 passed", "*= 8 passed in *"])


def test_workers_that_wait_for_the_cluster_have_the_controller_show_the_steps(project: pytest.Pytester) -> None:
    (project.path / "log").write_text("[1s] up.sh: creating\n")
    # The first worker's pause ends the wait.
    project.makeconftest("""
        import os
        from pathlib import Path
        from support import pytest_parts

        if "PYTEST_XDIST_WORKER" in os.environ:
            pytest_parts.time = type("Time", (), {
                "monotonic": staticmethod(pytest_parts.time.monotonic),
                "sleep": staticmethod(lambda seconds: Path("ended").write_text("7")),
            })
    """)
    result = project.runpytest_subprocess("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*cluster and images did not come up (7): see *log", "*waiting for cluster and images"]
    )
    result.stdout.fnmatch_lines(["*end of *log*"])
