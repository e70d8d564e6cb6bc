"""Builds the startup probe out of the contract's golden check and the probe's program (operator/clipmodel_probe): `make probe`.

  python hack/build_probe.py          writes the file where its code is not what it should be
  python hack/build_probe.py --check  only says so

The probe is in every ConfigMap, so its text must change only when its code does. Comments and docstrings of either do not reach it, and a text whose code is right stays as it is, whatever this machine's Python or ruff would write today.
"""
# ruff: noqa: INP001 - a script, no package

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "operator/clipmodel_contract/golden.py"
MAIN = ROOT / "operator/clipmodel_probe/main.py"
PROBE = ROOT / "operator/clipmodel_operator/rendering/probe/startup_probe.py.txt"
HEAD = """\
# Startup probe of clipmodel-operator: is this pod's embedding the one that was proven? Made by `make probe` of the code of
# clipmodel_contract/golden.py and clipmodel_probe/main.py, which say more.
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


def join(golden: str, main: str) -> ast.Module:
    """Put the code of both into one module: the contract's names are there, and imports come first, each once."""
    body = [*code_of(golden).body, *code_of(main).body]
    imports: dict[str, ast.stmt] = {}
    for node in body:
        is_ours = isinstance(node, ast.ImportFrom) and str(node.module).startswith("clipmodel_")
        if isinstance(node, ast.Import | ast.ImportFrom) and not is_ours:
            imports[ast.unparse(node)] = node
    # `from __future__` must be the first of them.
    first = sorted(imports, key=lambda text: (not text.startswith("from __future__"), text))
    rest = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.Module([*(imports[text] for text in first), *rest], type_ignores=[])


def build_probe(golden: str, main: str) -> str:
    """Put the probe together from the sources of the golden check and of the program."""
    code = ast.unparse(ast.fix_missing_locations(join(golden, main)))
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=120", "--stdin-filename=probe.py", "-"],
        input=code, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return f"{HEAD}{formatted}"


def find_difference(probe: str, *, golden: str, main: str) -> str | None:
    """Say what a probe's text is not; None where its code is that of golden check and program."""
    if ast.dump(code_of(probe)) != ast.dump(join(golden, main)):
        return f"its code is not that of {GOLDEN.relative_to(ROOT)} and {MAIN.relative_to(ROOT)}"
    return None


def main(arguments: list[str]) -> int:
    golden, program = GOLDEN.read_text("utf-8"), MAIN.read_text("utf-8")
    difference = (
        find_difference(PROBE.read_text("utf-8"), golden=golden, main=program) if PROBE.exists() else "it is missing"
    )
    if difference is None:
        return 0
    if "--check" in arguments:
        sys.stderr.write(f"{PROBE.relative_to(ROOT)} is stale ({difference}): make probe\n")
        return 1
    PROBE.write_text(build_probe(golden, program), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
