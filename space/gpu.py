"""Borrows a GPU for one call where the Space runs on ZeroGPU, and does nothing elsewhere."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TypeVar

__all__ = ["on_gpu"]

# Before the model is loaded: the package makes a GPU seem to be there, and puts the model onto a
# real one in each call.
SPACES: ModuleType | None = import_module("spaces") if find_spec("spaces") else None

Function = TypeVar("Function", bound=Callable)
SECONDS = 60
"""The longest that one call may hold the GPU."""


def on_gpu(function: Function) -> Function:
    """Run a function, or a generator, on a borrowed GPU where there are such to borrow.

    Args:
        function (`Callable`):
            What asks the model.

    Returns:
        `Callable`: The same, or the same behind `spaces.GPU`.
    """
    return function if SPACES is None else SPACES.GPU(duration=SECONDS)(function)
