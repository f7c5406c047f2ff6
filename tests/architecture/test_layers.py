"""Imports run downward only, and the files that travel to the Hub depend on little."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "emo_llama": ROOT / "emo_llama",
    "emo_llama.modeling": ROOT / "modeling",
    "emo_llama.dataset_builders": ROOT / "dataset_builders",
}
TRAVELLING = sorted(path for path in (ROOT / "modeling").glob("*.py") if path.stem != "__init__")

# Of two modules the higher may import the lower; equals may import each other, but modelling code
# and data builders not. What is not named here is a service.
LEAVES = ("errors", "files", "labels", "metadata", "prompts", "boxes")
PARTS = {"modeling": 1, "media": 1, "dataset_builders": 1, "cli": 3, "__main__": 3} | dict.fromkeys(
    LEAVES, 0
)
SERVICE = 2

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


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every import statement of a file, at any depth, with the full name of what it names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "." * node.level + (node.module or "")


def part(module: str) -> str:
    """The part of the package that a module belongs to; its own root is the package's front."""
    return module.split(".")[1] if "." in module else ""


def rank(module: str) -> int:
    return PARTS.get(part(module), SERVICE)


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_imports_run_downward(name: str, path: Path) -> None:
    for node, target in imports(path):
        if not target.startswith("emo_llama") or not part(target) or part(target) == part(name):
            continue
        assert rank(target) <= rank(name) or name == "emo_llama", (
            f"{path.name}:{node.lineno} imports {target}, which lies above {name}"
        )
        both = {part(target), part(name)}
        assert both != {"modeling", "dataset_builders"}, f"{path.name}:{node.lineno}: {both}"


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.name)
def test_travelling_files_depend_on_little(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {n.lineno for t in ast.walk(tree) if isinstance(t, ast.Try) for n in t.body}
    for node, target in imports(path):
        if target.startswith("."):
            assert isinstance(node, ast.ImportFrom) and node.level == 1 and node.module, (
                f"{path.name}:{node.lineno}: the Hub ships what `from .name import X` names"
            )
            assert (path.parent / f"{node.module}.py").is_file(), f"no file for {target}"
            continue
        top = target.split(".")[0]
        if node.lineno in guarded:
            continue  # transformers asks nobody to install what stands in a `try`
        assert top in sys.stdlib_module_names or top in ALLOWED_IN_TRAVELLING, (
            f"{path.name}:{node.lineno} imports {top}: every user of the Hub model would need it"
        )


@pytest.mark.parametrize("path", TRAVELLING, ids=lambda path: path.name)
def test_travelling_docstrings_hold_no_relative_import(path: Path) -> None:
    """transformers finds imports by their text, docstrings included."""
    statements = {
        node.lineno for node in ast.walk(ast.parse(path.read_text())) if _is_relative(node)
    }
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.lstrip().startswith("from ."):
            assert number in statements, f"{path.name}:{number}: {line.strip()}"


def _is_relative(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level > 0


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_the_installed_names_are_used(name: str, path: Path) -> None:
    """`modeling` and `dataset_builders` are names of folders, not of importable packages."""
    for node, target in imports(path):
        top = target.split(".")[0]
        assert top not in ("modeling", "dataset_builders"), f"{path.name}:{node.lineno}: {target}"
