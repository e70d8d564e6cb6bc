"""Builds the startup probe out of what it needs of the contract and its program (operator/clipmodel_probe): `make probe`.

  python hack/build_probe.py          writes the file where its code is not what it should be
  python hack/build_probe.py --check  only says so

The probe is in every ConfigMap, so its text must change only when its code does. Comments and docstrings of its sources do not reach it, and a text whose code is right stays as it is, whatever this machine's Python or ruff would write today.
"""
# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = ROOT / "operator/clipmodel_contract"
#: In this order: whatever runs when the file is read finds what it needs above.
SOURCES = (
    CONTRACT / "control.py",
    CONTRACT / "golden.py",
    CONTRACT / "proofs.py",
    ROOT / "operator/clipmodel_probe/main.py",
)
PROBE = ROOT / "operator/clipmodel_operator/rendering/probe/startup_probe.py.txt"
HEAD = """\
# Startup probe of clipmodel-operator: is this pod's embedding the one that was proven? Made by `make probe` of the code of
# clipmodel_contract (control.py, golden.py, proofs.py) and clipmodel_probe/main.py, which say more.
"""


def code_of(source: str) -> ast.Module:
    """Give a program's code alone: without comments (which the parser drops) and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _defined(node: ast.stmt) -> list[str]:
    """Give the names that a statement at the top of a module defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def join(sources: Sequence[str]) -> ast.Module:
    """Put the code of all sources into one module: the contract's names are there, and imports come first, each once.

    Raises ValueError where two of them define the same name, for the later one would take the place of the other.
    """
    body = [node for source in sources for node in code_of(source).body]
    imports: dict[str, ast.stmt] = {}
    for node in body:
        is_ours = isinstance(node, ast.ImportFrom) and str(node.module).startswith("clipmodel_")
        if isinstance(node, ast.Import | ast.ImportFrom) and not is_ours:
            imports[ast.unparse(node)] = node
    # `from __future__` must be the first of them.
    first = sorted(imports, key=lambda text: (not text.startswith("from __future__"), text))
    rest = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
    names = [name for node in rest for name in _defined(node)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"defined twice among the startup probe's sources: {', '.join(twice)}")
    return ast.Module([*(imports[text] for text in first), *rest], type_ignores=[])


def build_probe(sources: Sequence[str]) -> str:
    """Put the probe together from the texts of SOURCES."""
    code = ast.unparse(ast.fix_missing_locations(join(sources)))
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=120", "--stdin-filename=probe.py", "-"],
        input=code, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return f"{HEAD}{formatted}"


def find_difference(probe: str, sources: Sequence[str]) -> str | None:
    """Say what a probe's text is not; None where its code is that of the sources."""
    if ast.dump(code_of(probe)) != ast.dump(join(sources)):
        return f"its code is not that of {', '.join(str(path.relative_to(ROOT)) for path in SOURCES)}"
    return None


def main(arguments: list[str]) -> int:
    sources = [path.read_text("utf-8") for path in SOURCES]
    difference = find_difference(PROBE.read_text("utf-8"), sources) if PROBE.exists() else "it is missing"
    if difference is None:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{PROBE.relative_to(ROOT)} is stale ({difference}): make probe\n")
        return 1
    PROBE.write_text(build_probe(sources), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
