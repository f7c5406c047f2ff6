"""The tab Compare: which settings there are, when each is made, and what comes of a bad one."""

from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.space.compare import Settings
from emo_llama.testing import tiny_config, tiny_model, tiny_processor

NAMES = [
    "The model",
    "Without Face Info Mining",
    "The whole picture as the face",
    "Without calibration",
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    draw_face("fear", size=60).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_a_model_without_mining_has_no_such_setting(recognizer: EmotionRecognizer) -> None:
    config = tiny_config(face_config=None)
    without = EmotionRecognizer(tiny_model(config), tiny_processor(config))
    assert list(Settings(recognizer).makers) == NAMES
    assert list(Settings(without).makers) == [NAMES[0], *NAMES[2:]]


def test_another_model_is_loaded_when_it_is_asked_for(
    recognizer: EmotionRecognizer, path: str, tmp_path: Path
) -> None:
    config = tiny_config(id2label={0: "calm", 1: "wild"})
    folder = tmp_path / "other"
    tiny_model(config).save_pretrained(folder)
    tiny_processor(config).save_pretrained(folder)
    settings = Settings(recognizer, [str(folder)])
    assert not settings.made
    records = settings.answer(path, "The model", "other")
    assert list(records["The model"]["faces"][0]["probabilities"])[0] == "neutral"
    assert list(records["other"]["faces"][0]["probabilities"]) == ["calm", "wild"]
    assert settings.get("other") is settings.get("other")


def test_a_model_that_cannot_be_loaded_is_named_and_no_more(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    settings = Settings(recognizer, [str(tmp_path)])
    with pytest.raises(gr.Error) as caught:
        settings.get(tmp_path.name)
    assert caught.value.message == f"{tmp_path.name} could not be loaded. Choose another one."


def test_the_second_comes_after_the_first(recognizer: EmotionRecognizer, path: str) -> None:
    pages = list(Settings(recognizer).side_by_side(path, *NAMES[:2]))
    assert "Looking: The model" in pages[0][0] and "next" in pages[0][1]
    assert "Looking: Without" in pages[-2][1]
    left, right = pages[-1]
    assert "<h2>The model</h2>" in left and "<h2>Without Face Info Mining</h2>" in right
    assert 'class="face-talk"' not in left
