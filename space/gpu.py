"""Borrows a GPU for one call where the Space runs on ZeroGPU, and does nothing elsewhere."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

__all__ = ["on_gpu"]

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
    if find_spec("spaces") is None:
        return function
    import spaces

    return spaces.GPU(duration=SECONDS)(function)
