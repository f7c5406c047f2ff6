"""The tab that sets two ways of looking at one photo beside each other."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.errors import EmoLlamaError
from emo_llama.space.gpu import on_gpu
from emo_llama.space.photo import STOPPED, inputs, look
from emo_llama.space.variants import (
    has_face_info_mining,
    uncalibrated,
    whole_picture,
    without_face_info_mining,
)
from emo_llama.space.view import Seen, hint, progress_text, show, view

__all__ = ["OTHERS_VARIABLE", "Settings", "build_compare"]

OTHERS_VARIABLE = "EMO_LLAMA_COMPARE"
"""Environment variable of whoever runs the Space: folders and Hub repositories, by commas."""

EMPTY = "Choose a photo and two settings, then press Compare."
THRESHOLD = 0.5
"""Below it a face counts as unsure, as in the tab of one photo by default."""


class Settings:
    """The ways of looking that a visitor can choose from; each is made when it is first used.

    Args:
        recognizer ([`EmotionRecognizer`]): The model of the Space.
        others (`list[str]`, *optional*): Models that may be set beside it.
    """

    def __init__(self, recognizer: EmotionRecognizer, others: list[str] | None = None) -> None:
        self.makers: dict[str, Callable[[], EmotionRecognizer]] = {"The model": lambda: recognizer}
        if has_face_info_mining(recognizer):
            self.makers["Without Face Info Mining"] = partial(without_face_info_mining, recognizer)
        self.makers["The whole picture as the face"] = partial(whole_picture, recognizer)
        self.makers["Without calibration"] = partial(uncalibrated, recognizer)
        for name in others or ():  # visitors need not know where a folder lies
            shown = Path(name).name if Path(name).is_dir() else name
            self.makers[shown] = partial(_load, name, recognizer)
        self.made: dict[str, EmotionRecognizer] = {}

    def get(self, name: str) -> EmotionRecognizer:
        """The model of one setting.

        Args:
            name (`str`): One of the names.

        Returns:
            [`EmotionRecognizer`]: Ready to use.

        Raises:
            gradio.Error: Another model could not be loaded.
        """
        if name not in self.made:
            try:
                self.made[name] = self.makers[name]()
            except EmoLlamaError as error:
                raise gr.Error(f"{name} could not be loaded. Choose another one.") from error
        return self.made[name]

    def side_by_side(self, path: str | None, left: str, right: str) -> Iterator[tuple[str, str]]:
        """Show a picture as two settings see it."""
        yield progress_text(f"Looking: {left}"), hint("Its turn comes next.")
        shown = ""
        for seen in _steps(self.get(left), path):
            shown = _drawn(seen, left)
            yield shown, hint("Its turn comes next.")
        yield shown, progress_text(f"Looking: {right}")
        for seen in _steps(self.get(right), path):
            yield shown, _drawn(seen, right)

    def answer(self, path: str | None, left: str, right: str) -> dict[str, Any]:
        """Recognise a picture in two ways.

        Args:
            path: The picture.
            left: The first setting.
            right: The second.

        Returns:
            Two records of the package by the names of their settings.
        """
        return {name: list(_steps(self.get(name), path))[-1].record() for name in (left, right)}


def build_compare(recognizer: EmotionRecognizer) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]): The model.
    """
    others = [name.strip() for name in os.environ.get(OTHERS_VARIABLE, "").split(",")]
    settings = Settings(recognizer, [name for name in others if name])
    names = list(settings.makers)
    with gr.Row(elem_classes="face-columns"):
        with gr.Column(scale=5, min_width=300):
            picture, run, cancel = inputs("compare", "Compare", 240)
        with gr.Column(scale=6, min_width=300):
            left = gr.Dropdown(names, value=names[0], label="Left", elem_id="compare-left")
            right = gr.Dropdown(names, value=names[1], label="Right", elem_id="compare-right")
            gr.Markdown(NOTES, elem_id="compare-notes")
    with gr.Row():
        with gr.Column(min_width=300):
            first = view("compare-first", EMPTY)
        with gr.Column(min_width=300):
            second = view("compare-second", EMPTY)
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    chosen = [picture, left, right]
    running = run.click(on_gpu(settings.side_by_side), chosen, [first, second], **private)
    running.failure(
        lambda: (hint(STOPPED), hint(STOPPED)), None, [first, second], queue=False, **private
    )
    cancel.click(None, cancels=[running], queue=False, api_visibility="private")
    record = gr.JSON(visible=False)
    gr.Button(visible=False).click(on_gpu(settings.answer), chosen, record, api_name="compare")


NOTES = """- **Without Face Info Mining** the model sees the picture by its vision tower alone, for
which it was not trained: the difference shows what the face tokens add.
- **The whole picture as the face** leaves the face detector out.
- **Without calibration** leaves out the temperature and bias that were fitted to held-out votes."""


def _load(name: str, recognizer: EmotionRecognizer) -> EmotionRecognizer:
    """Another model, with the detector that is there already."""
    other = EmotionRecognizer.from_pretrained(name, detector="none")
    other.detector = recognizer.detector
    return other


def _steps(recognizer: EmotionRecognizer, path: str | None) -> Iterator[Seen]:
    """What is known of a picture, once there is more than where its faces are."""
    for seen in look(recognizer, path):
        if seen.faces or not seen.found:
            yield seen.judged(THRESHOLD)


def _drawn(seen: Seen, name: str) -> str:
    return show(seen, talk=False, heading=name)
