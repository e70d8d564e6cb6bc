"""The contract needs the standard library alone: every program imports it, whatever else its image holds."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import clipmodel_contract

ROOT = Path(__file__).parents[3]
PACKAGE = Path(clipmodel_contract.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def run_isolated(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that sees the standard library and the arguments' folder: no site-packages, no environment, no current folder."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_imported_with_the_standard_library_alone(module: str) -> None:
    # The folder holds the other programs too; what they need is not in sight.
    program = """
import importlib, sys
sys.path.append(sys.argv[1])
importlib.import_module(sys.argv[2])
ours = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__"}
print(*sorted(ours))
"""
    name = "clipmodel_contract" if module == "__init__" else f"clipmodel_contract.{module}"
    result = run_isolated(program, str(PACKAGE.parent), name)
    assert (result.returncode, result.stdout.split()) == (0, ["clipmodel_contract"]), result.stderr


def test_nothing_else_is_in_sight_there() -> None:
    assert "No module named 'numpy'" in run_isolated("import numpy").stderr


def test_it_is_in_every_program_s_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "operator/clipmodel_contract" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    dockerfile, images = ((ROOT / name).read_text("utf-8") for name in ("Dockerfile", "tests/kind/images.sh"))
    for program in ("clipmodel_operator", "clipmodel_sync"):
        assert f"COPY operator/clipmodel_contract operator/clipmodel_contract\nCOPY operator/{program} " in dockerfile
        assert f"operator/clipmodel_contract operator/{program} ;;" in images
