"""The page over loopback with a tiny model: one server for the tests of this folder."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from emo_llama import EmotionRecognizer
from emo_llama.testing import tiny_model, tiny_processor

if TYPE_CHECKING:
    from gradio_client import Client


@pytest.fixture(scope="session")
def recognizer() -> EmotionRecognizer:
    """A model that has learned nothing, and no detector: the whole picture is the face."""
    return EmotionRecognizer(tiny_model(), tiny_processor(), max_new_tokens=8)


@pytest.fixture(scope="session")
def client(recognizer: EmotionRecognizer) -> Iterator["Client"]:
    """A visitor by gradio_client."""
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")
    from gradio_client import Client

    from emo_llama.space.app import build_demo, launch

    demo = build_demo(recognizer)
    _, address, _ = launch(demo, "127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield Client(address, verbose=False)
    demo.close()
