"""Where the package `spaces` is, what asks the model borrows a GPU."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from emo_llama.space.gpu import SECONDS, on_gpu


def test_without_the_package_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    assert on_gpu(len) is len


def test_with_the_package_a_call_borrows_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    borrowed: list[int] = []

    def borrow(duration: int):
        def wrap(function):
            return lambda *given: borrowed.append(duration) or function(*given)

        return wrap

    spaces = ModuleType("spaces")
    spaces.__spec__ = ModuleSpec("spaces", loader=None)
    monkeypatch.setattr(spaces, "GPU", borrow, raising=False)
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    assert on_gpu(len)([1, 2]) == 2
    assert borrowed == [SECONDS]
