"""The locks are whole, carry no addresses, and say the same as pyproject.toml."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def requirements(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def pinned(path: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9_.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_the_sync_image_has_what_the_extra_sync_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert requirements(ROOT / "requirements" / "sync.in") == project["optional-dependencies"]["sync"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_hashes_and_no_addresses(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^-|/(home|root|tmp|work)/", text, re.MULTILINE)
    blocks = re.split(r"\n(?=\S)", text)
    entries = [block for block in blocks if not block.startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9_.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", ["operator.txt", "sync.txt"])
def test_images_hold_the_versions_that_the_tests_run_with(name: str) -> None:
    tested = pinned(ROOT / "requirements" / "dev.txt")
    for package, versions in pinned(ROOT / "requirements" / name).items():
        assert versions <= tested[package], package


def test_the_sync_program_loads_nothing_of_the_operators_libraries() -> None:
    program = (
        "import sys, clipmodel_sync.sync, clipmodel_sync.cli; print(*{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
    )  # fmt: skip
    loaded = set(result.stdout.split()) - sys.stdlib_module_names
    assert {"clipmodel_sync", "clipmodel_contract", "numpy", "urllib3"} <= loaded
    known = set(pinned(ROOT / "requirements" / "sync.txt"))
    missing = {"pydantic", "kopf", "kubernetes", "aiohttp", "typer", "rich", "yaml", "clipmodel_operator"} - known
    assert not loaded & missing
