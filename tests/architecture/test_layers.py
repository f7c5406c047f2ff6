"""Imports run downward only, and the files that travel to the Hub depend on little."""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "emo_llama": ROOT / "emo_llama",
    "emo_llama.modeling": ROOT / "modeling",
    "emo_llama.dataset_builders": ROOT / "dataset_builders",
    "emo_llama.space": ROOT / "space",
}
TRAVELLING = sorted(path for path in (ROOT / "modeling").glob("*.py") if path.stem != "__init__")

# A part of the package imports from the floors below its own, and from itself. Parts of one floor
# do not know each other.
FLOORS = (
    ("boxes", "csv_rows", "errors", "escaping", "labels", "metadata"),
    (
        "files",
        "mediapipe_graphs",
        "modeling",
        "norms",
        "prompts",
        "record_formats",
        "records",
        "sources",
    ),
    ("chat", "faces", "media", "testing", "writing"),
    ("cropping", "dataset_builders", "overlay", "vetting"),
    ("annotate", "evaluation", "weights"),
    ("loading",),
    ("hub", "recognition"),
    ("conversion", "training"),
    ("space",),
    ("cli",),
    ("__main__",),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}

# huggingface_hub only for `strict`, the decorator of transformers' own configuration classes.
ALLOWED_IN_TRAVELLING = {"torch", "transformers", "numpy", "PIL", "huggingface_hub"}


def modules() -> list[tuple[str, Path]]:
    """Every module of the package, with its file."""
    found = []
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found.append((name, path))
    return found


@cache
def imports(path: Path) -> list[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import statement of a file, at any depth, with the full name of what it names."""
    found: list[tuple[ast.Import | ast.ImportFrom, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node, "." * node.level + (node.module or "")))
    return found


def part(module: str) -> str:
    """The part of the package that a module belongs to; its own root is the package's front."""
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_a_floor() -> None:
    parts = {part(name) for name, _ in modules()} - {""}
    scripts = {name for name in parts if name.startswith("_") and name not in FLOOR}
    assert parts - scripts == FLOOR.keys(), "FLOORS names each part of the package once"


def test_imports_run_downward() -> None:
    upward = [
        f"{name}:{node.lineno} (floor {FLOOR[part(name)]}) imports {target} ({FLOOR[part(target)]})"
        for name, path in modules()
        if part(name) in FLOOR  # the front may name all
        for node, target in imports(path)
        if target.startswith("emo_llama.") and part(target) in FLOOR.keys() - {part(name)}
        if FLOOR[part(target)] >= FLOOR[part(name)]
    ]
    assert not upward, f"a part imports from lower floors only: {upward}"


def test_imports_run_in_no_circle() -> None:
    """Not even within a part, and not within functions."""
    files = dict(modules())
    graph = {
        name: {module for node, target in imports(path) for module in named(node, target, files)}
        for name, path in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def named(node: ast.AST, target: str, files: dict[str, Path]) -> set[str]:
    """The modules that an import statement names: `from package import module` names the module."""
    inner = {f"{target}.{alias.name}" for alias in node.names} & files.keys()
    return inner or {target} & files.keys()


def test_travelling_files_depend_on_little() -> None:
    wrong = [
        f"{path.name}:{node.lineno} imports {target}"
        for path in TRAVELLING
        for node, target in imports(path)
        if not may_travel(path, node, target)
    ]
    assert not wrong, (
        f"the Hub ships what `from .name import X` names, and every user of the Hub model would "
        f"need what is not among {sorted(ALLOWED_IN_TRAVELLING)}: {wrong}"
    )


def may_travel(path: Path, node: ast.AST, target: str) -> bool:
    """Whether a file that travels may hold such an import.

    transformers asks nobody to install what stands in a `try`.
    """
    if target.startswith("."):
        single = isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        return bool(single) and (path.parent / f"{node.module}.py").is_file()
    top = target.split(".")[0]
    return (
        node.lineno in guarded(path)
        or top in sys.stdlib_module_names
        or top in ALLOWED_IN_TRAVELLING
    )


def guarded(path: Path) -> set[int]:
    """The lines of statements in a `try`."""
    tries = (n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if type(n) is ast.Try)
    return {statement.lineno for found in tries for statement in found.body}


def test_travelling_docstrings_hold_no_relative_import() -> None:
    """transformers finds imports by their text, docstrings included."""
    wrong = [
        f"{path.name}:{number}: {line.strip()}"
        for path in TRAVELLING
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.lstrip().startswith("from .") and number not in relative_imports(path)
    ]
    assert not wrong, wrong


def relative_imports(path: Path) -> set[int]:
    """The lines of a file that are relative imports."""
    return {
        node.lineno
        for node, _ in imports(path)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    }


def test_the_installed_names_are_used() -> None:
    """`modeling`, `dataset_builders` and `space` are folders, not importable packages."""
    wrong = [
        f"{name}:{node.lineno} imports {target}"
        for name, path in modules()
        for node, target in imports(path)
        if target.split(".")[0] in ("modeling", "dataset_builders", "space")
    ]
    assert not wrong, wrong
