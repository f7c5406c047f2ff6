"""The tab About: what stands in a card reaches the page as text only."""

from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

from emo_llama import EmotionRecognizer
from emo_llama.space.about import PURPOSE, card_text
from emo_llama.testing import tiny_model, tiny_processor


def test_the_card_beside_the_weights_is_shown_without_pictures_and_markup(tmp_path: Path) -> None:
    card = (
        "---\nlicense: mit\n---\n# A model\n![its look](https://else.where/a.png) ![b][ref]\n"
        "<img src='https://else.where/b.png'>\n\n| a | b |\n|---|---|\n"
    )
    (tmp_path / "README.md").write_text(card)
    recognizer = EmotionRecognizer(tiny_model(), tiny_processor())
    recognizer.model.config.name_or_path = str(tmp_path)
    text = card_text(recognizer)
    assert text.startswith("# A model\nits look b\n&lt;img")
    assert text.endswith("| a | b |\n|---|---|")


def test_a_model_without_a_card_is_described_from_its_configuration() -> None:
    recognizer = EmotionRecognizer(tiny_model(), tiny_processor())
    assert card_text(recognizer).startswith("# This model")


def test_what_it_is_not_for_is_said() -> None:
    assert "AI Act, Article 5(1)(f)" in PURPOSE
    assert "What is kept: nothing" in PURPOSE
