"""The pure rooms are functions of their arguments: what import-linter cannot say of the standard library, said as what is allowed.

import-linter follows chains of imports to what is forbidden; this reads each module of the rooms: what it imports must be on the list, and it may
not open a file nor ask for the time.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "operator"
ROOMS = ("models", "api", "planning", "rendering", "assessment")
#: Values, texts and numbers. What is not here reads, writes, waits, or differs from run to run.
ALLOWED = frozenset({
    "__future__", "array", "base64", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum", "functools", "hashlib", "hmac",
    "json", "math", "re", "struct", "sys", "typing", "urllib.parse", "jinja2", "pydantic", "typing_extensions",
    "clipmodel_contract", "clipmodel_operator",
})  # fmt: skip
#: Paths of the volume are values there; they are joined and never opened.
EXCEPTIONS = {
    "clipmodel_contract/volume_layout.py": {"pathlib"},
    "clipmodel_contract/source_uri.py": {"pathlib"},
    # Reads what the package holds, once, when it is imported.
    "clipmodel_operator/rendering/package_files.py": {"importlib"},
}
FORBIDDEN_CALLS = frozenset({"open", "input", "print", "exec", "eval", "__import__"})
FORBIDDEN_METHODS = frozenset(
    {"now", "utcnow", "today", "read_text", "read_bytes", "write_text", "write_bytes", "exists", "stat"}
)


def modules() -> list[str]:
    files = [f for room in ROOMS for f in (ROOT / "clipmodel_operator" / room).rglob("*.py")]
    files += (ROOT / "clipmodel_contract").rglob("*.py")
    return sorted(str(f.relative_to(ROOT)) for f in files)


def is_allowed(name: str, exceptions: set[str]) -> bool:
    return any(name == a or name.startswith(f"{a}.") for a in ALLOWED | exceptions)


def find_impurities(source: str, exceptions: set[str]) -> list[str]:
    """List what a module's text does that a pure one may not."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [a.name for a in names if not is_allowed(a.name, exceptions)]
            case ast.ImportFrom(module=str(module)):
                found += [] if is_allowed(module, exceptions) else [module]
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                found.append(f"{name}()")
            case ast.Call(func=ast.Attribute(attr=name)) if name in FORBIDDEN_METHODS and not exceptions:
                found.append(f".{name}()")
            case _:
                pass
    return found


@pytest.mark.parametrize("module", modules())
def test_a_module_is_pure(module: str) -> None:
    assert find_impurities((ROOT / module).read_text("utf-8"), EXCEPTIONS.get(module, set())) == []


@pytest.mark.parametrize(
    "source",
    ["import os", "import urllib.request", "from pathlib import Path", "import threading", "import sqlite3", "from importlib import resources",
     "open('x')", "datetime.now()", "date.today()", "path.read_text()", "import time", "from collections import abc; import io", "__import__('os')"],
)  # fmt: skip
def test_what_is_not_pure_is_found(source: str) -> None:
    assert find_impurities(source, set())


def test_there_are_modules() -> None:
    assert len(modules()) > 50
