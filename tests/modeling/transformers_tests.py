"""Imports transformers' own common model tests from its source archive.

The archive carries `tests/*.py` without the sub-folders, so the two mixins that live in sub-folders
(export and generation) are stood in for by empty classes, and the pictures that they would fetch
from the Hub by the portrait that the package ships.
"""

import importlib
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType

import transformers

ARCHIVE = Path(__file__).parents[2] / ".cache" / f"transformers-{transformers.__version__}.tar.gz"
PORTRAIT = Path(__file__).parents[2] / "emo_llama" / "assets" / "portrait.jpg"
PACKAGE = "transformers_own_tests"
ABSENT_MIXINS = {
    "exporters.test_export": "ExportTesterMixin",
    "generation.test_utils": "GenerationTesterMixin",
}
# Kept until the interpreter ends: the tests look their own source up.
_folder = tempfile.TemporaryDirectory(prefix="transformers-tests-")


def load_common_tests(kind: str = "modeling") -> ModuleType:
    """The module `tests/test_{kind}_common.py` of the installed version of transformers."""
    name = f"{PACKAGE}.test_{kind}_common"
    if PACKAGE not in sys.modules:
        _unpack()
    return importlib.import_module(name)


def _unpack() -> None:
    prefix = f"transformers-{transformers.__version__}/tests/"
    with tarfile.open(ARCHIVE) as archive:
        members = [m for m in archive if m.isfile() and m.name.startswith(prefix)]
        archive.extractall(_folder.name, members=members, filter="data")
    _add_package(PACKAGE, [str(Path(_folder.name) / prefix)])
    for module_name, class_name in ABSENT_MIXINS.items():
        _add_package(f"{PACKAGE}.{module_name.partition('.')[0]}", [])
        module = _add_package(f"{PACKAGE}.{module_name}", [])
        setattr(module, class_name, type(class_name, (), {}))
    fetching = _add_package("fetch_hub_objects_for_ci", [])
    fetching.url_to_local_path = lambda url: str(PORTRAIT)


def _add_package(name: str, path: list[str]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = path
    sys.modules[name] = module
    return module
