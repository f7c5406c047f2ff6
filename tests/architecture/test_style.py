"""Limits of the charter that ruff does not check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("emo_llama", "modeling", "dataset_builders")
    for path in (ROOT / folder).rglob("*.py")
)
MAX_BODY = 40
MAX_LINES = {"modeling": 800}
MACHINE_ROOTS = ("home", "root", "tmp", "mnt", "Users")
MACHINE_PATH = re.compile(rf"""["'](/({"|".join(MACHINE_ROOTS)})/|[A-Z]:\\)""")


def body_length(function: ast.FunctionDef) -> int:
    """Lines of a function's body, without signature and docstring."""
    first = (
        function.body[1]
        if ast.get_docstring(function) and len(function.body) > 1
        else function.body[0]
    )
    return function.end_lineno - first.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = {f.name: body_length(f) for f in functions if body_length(f) > MAX_BODY}
    assert not long, f"more than {MAX_BODY} lines: {long}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_portable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    limit = MAX_LINES.get(path.relative_to(ROOT).parts[0], 400)
    assert len(text.splitlines()) <= limit
    assert not MACHINE_PATH.search(text), "a path of some machine stands in the code"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_loaded_from_pickles_unguarded(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert flags.get("weights_only") == "True", f"{path.name}:{node.lineno}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None)]
            assert "pickle" not in names, f"{path.name}:{node.lineno}"
