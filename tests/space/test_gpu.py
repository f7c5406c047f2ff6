"""Where the package `spaces` is, what asks the model borrows a GPU."""

import sys
from collections.abc import Iterator
from importlib import reload
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from emo_llama.space import gpu


@pytest.fixture
def spaces(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The package as the Hub has it: how long each call borrowed a GPU for."""
    borrowed: list[int] = []

    def borrow(duration: int):
        def wrap(function):
            return lambda *given: borrowed.append(duration) or function(*given)

        return wrap

    module = ModuleType("spaces")
    module.__spec__ = ModuleSpec("spaces", loader=None)
    module.GPU = borrow
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "spaces", module)
        reload(gpu)
        yield borrowed
    reload(gpu)


def test_without_the_package_nothing_changes() -> None:
    assert gpu.on_gpu(len) is len


def test_with_the_package_a_call_borrows_a_gpu(spaces: list[int]) -> None:
    assert gpu.on_gpu(len)([1, 2]) == 2
    assert spaces == [gpu.SECONDS]
