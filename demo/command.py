"""Runs other programs: quietly, line by line, or in the foreground. A failure carries their last words."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

from demo.errors import DemoError
from demo.settings import ROOT, kind_cache

_STAMP = re.compile(r"^\[\d+s\] ")  # the scripts of tests/kind stamp their lines; the demo has its own stamp
_LAST_LINES = 15


def environment() -> dict[str, str]:
    """Give the environment of all children: tests/kind's kubectl first, our packages importable from the checkout."""
    path = [str(kind_cache() / "bin"), os.path.dirname(sys.executable), os.environ.get("PATH", "")]  # noqa: PTH120
    packages = [str(ROOT / "operator"), str(ROOT / "export"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PATH": os.pathsep.join(part for part in path if part),
        "PYTHONPATH": os.pathsep.join(part for part in packages if part),
    }


def run(command: Sequence[str], *, stdin: str | None = None, timeout_s: float = 300) -> str:
    """Run quietly and give the output.

    Raises:
        DemoError: it failed, took too long, or is not there.

    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
            cwd=ROOT,
            timeout=timeout_s,
        )
    except FileNotFoundError as error:
        raise _missing(command) from error
    except subprocess.TimeoutExpired as error:
        raise DemoError(
            f"{command[0]} took longer than {timeout_s:g} s.", advice=f"Try it by hand: {typed(command)}"
        ) from error
    if done.returncode != 0:
        raise failure(command, done.stderr or done.stdout)
    return done.stdout


def run_with_lines(command: Sequence[str], *, tell: Callable[[str], None]) -> str:
    """Run, hand on each line of standard error as it comes, and give standard output.

    Raises:
        DemoError: it failed, or is not there.

    """
    told: list[str] = []
    with tempfile.TemporaryFile("w+") as output:
        try:
            child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT
            )
        except FileNotFoundError as error:
            raise _missing(command) from error
        assert child.stderr is not None  # noqa: S101 - asked for above
        with child:
            for line in child.stderr:
                told.append(line.rstrip())
                if told[-1]:
                    tell(_STAMP.sub("", told[-1]))
        if child.returncode != 0:
            raise failure(command, told[-1] if told else "")  # the others have been told
        output.seek(0)
        return output.read()


def run_in_foreground(command: Sequence[str], *, extra_environment: Mapping[str, str] | None = None) -> int:
    """Run with this terminal, progress bars and all; give the exit code.

    Raises:
        DemoError: it is not there.

    """
    try:
        return subprocess.run(
            command, check=False, env={**environment(), **(extra_environment or {})}, cwd=ROOT
        ).returncode
    except FileNotFoundError as error:
        raise _missing(command) from error


def failure(command: Sequence[str], words: str) -> DemoError:
    """Say that a program failed, and with what."""
    lines = [line for line in words.splitlines() if line.strip()]
    return DemoError(
        f"{os.path.basename(command[0])} failed: {lines[-1] if lines else 'without a word'}",  # noqa: PTH119
        advice=f"Try it by hand: {typed(command)}",
        details="\n".join(lines[-_LAST_LINES:-1]),
    )


def typed(command: Sequence[str]) -> str:
    """Write a command as a user would type it."""
    return shlex.join(command)


def _missing(command: Sequence[str]) -> DemoError:
    return DemoError(f"{command[0]} was not found.", advice="Install it, or run make setup in the checkout.")
