"""Imports transformers' own common model tests from its source archive.

The archive carries `tests/*.py` without the sub-folders, so the two mixins that live in sub-folders
(export and generation) are stood in for by empty classes.
"""

import importlib
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType

import transformers

ARCHIVE = Path(__file__).parents[2] / ".cache" / f"transformers-{transformers.__version__}.tar.gz"
PACKAGE = "transformers_own_tests"
ABSENT_MIXINS = {
    "exporters.test_export": "ExportTesterMixin",
    "generation.test_utils": "GenerationTesterMixin",
}
# Kept until the interpreter ends: the tests look their own source up.
_folder = tempfile.TemporaryDirectory(prefix="transformers-tests-")


def load_common_tests() -> ModuleType:
    """The module `tests/test_modeling_common.py` of the installed version of transformers."""
    name = f"{PACKAGE}.test_modeling_common"
    if name in sys.modules:
        return sys.modules[name]
    prefix = f"transformers-{transformers.__version__}/tests/"
    with tarfile.open(ARCHIVE) as archive:
        members = [m for m in archive if m.isfile() and m.name.startswith(prefix)]
        archive.extractall(_folder.name, members=members, filter="data")
    _add_package(PACKAGE, [str(Path(_folder.name) / prefix)])
    for module_name, class_name in ABSENT_MIXINS.items():
        _add_package(f"{PACKAGE}.{module_name.partition('.')[0]}", [])
        module = _add_package(f"{PACKAGE}.{module_name}", [])
        setattr(module, class_name, type(class_name, (), {}))
    return importlib.import_module(name)


def _add_package(name: str, path: list[str]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = path
    sys.modules[name] = module
    return module
