"""Limits of the charter that ruff does not check."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("emo_llama", "modeling", "dataset_builders", "space")
    for path in (ROOT / folder).rglob("*.py")
)
MAX_BODY = 40
MAX_LINES = {"modeling": 800}
MACHINE_ROOTS = ("home", "root", "tmp", "mnt", "Users")
MACHINE_PATH = re.compile(rf"""["'](/({"|".join(MACHINE_ROOTS)})/|[A-Z]:\\)""")


CHECKS = re.compile(r"\bassert\b|\bpytest\.(raises|warns|fail)\(|\bassert_\w+\(|\bexpect\(")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Everything in the source, with the name of its file within the repository; read once."""
    return [
        (str(path.relative_to(ROOT)), node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def body_length(function: Function) -> int:
    """Lines of a function's body, without signature and docstring."""
    first = (
        function.body[1]
        if ast.get_docstring(function) and len(function.body) > 1
        else function.body[0]
    )
    return function.end_lineno - first.lineno + 1


def test_functions_are_short() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}: {body_length(node)}"
        for name, node in nodes()
        if isinstance(node, Function) and body_length(node) > MAX_BODY
    ]
    assert not long, f"bodies of more than {MAX_BODY} lines: {long}"


def test_files_are_short() -> None:
    long = {}
    for path in FILES:
        name = path.relative_to(ROOT)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES.get(name.parts[0], 400):
            long[str(name)] = lines
    assert not long, f"files of too many lines: {long}"


def test_files_are_portable() -> None:
    bound = {
        str(path.relative_to(ROOT)): found.group()
        for path in FILES
        if (found := MACHINE_PATH.search(path.read_text(encoding="utf-8")))
    }
    assert not bound, f"paths of some machine: {bound}"


def test_nothing_is_loaded_from_pickles_unguarded() -> None:
    unguarded = [f"{name}:{node.lineno}" for name, node in nodes() if loads_any_pickle(node)]
    assert not unguarded, f"torch.load without weights_only=True, or pickle: {unguarded}"


def loads_any_pickle(node: ast.AST) -> bool:
    """Whether a file that this reads could run code."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
        flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        return flags.get("weights_only") != "True"
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return "pickle" in [*(alias.name for alias in node.names), getattr(node, "module", None)]
    return False


def test_every_test_asserts() -> None:
    """By itself or by a function of its file, unless it is skipped."""
    silent = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        asserting = {
            function.name for function in functions if CHECKS.search(ast.unparse(function))
        }
        silent += [
            f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
            for function in functions
            if function.name.startswith("test_") and function.name not in asserting
            if not any("skip" in ast.unparse(mark) for mark in function.decorator_list)
            if not asserting & {name.id for name in ast.walk(function) if type(name) is ast.Name}
        ]
    assert not silent, f"tests that can only crash: {silent}"


def test_placeholders_are_written_in_one_place() -> None:
    """A default written anew elsewhere could be of a token that a model does not have."""
    written = [
        f"{name}:{node.lineno}"
        for name, node in nodes()
        if isinstance(node, ast.Constant) and node.value in ("<image>", "<video>")
    ]
    places = {place.partition(":")[0] for place in written}
    assert places == {"modeling/processing_emo_llama.py"} and len(written) == 2, written
