"""The whole page over loopback, as gradio_client sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from gradio_client import Client, handle_file

from emo_llama import EmotionRecognizer
from emo_llama.space.app import build_demo, launch
from emo_llama.testing import tiny_model, tiny_processor

PORTRAIT = Path(__file__).parents[2] / "emo_llama" / "assets" / "portrait.jpg"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    demo = build_demo(EmotionRecognizer(tiny_model(), tiny_processor()))
    _, address, _ = launch(demo, "127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield Client(address, verbose=False)
    demo.close()


def test_a_photo_gives_the_record_of_the_package(client: Client) -> None:
    record = client.predict(handle_file(PORTRAIT), api_name="/photo")
    recognizer = EmotionRecognizer(tiny_model(), tiny_processor())
    assert record == recognizer(PORTRAIT).to_dict() | {"path": None}
