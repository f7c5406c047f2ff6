"""The tab of one photo: every face with its probabilities and its sentence."""

from typing import Any

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.space.chosen import Chosen
from emo_llama.space.gpu import on_gpu

__all__ = ["build_photo"]


def build_photo(recognizer: EmotionRecognizer, chosen: gr.State) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
        chosen (`gradio.State` of [`Chosen`]):
            Set to the face that a visitor clicks.
    """

    @on_gpu
    def recognize(path: str | None) -> tuple[dict[str, Any], Chosen]:
        """Recognise the expression of every face in a picture, as one record."""
        if path is None:
            raise gr.Error("There is no picture yet. Upload one, or take one with the camera.")
        result = recognizer.recognize(path)
        if result.error:
            raise gr.Error(result.error["message"])
        return {**result.to_dict(), "path": None}, Chosen()

    with gr.Row():
        picture = gr.Image(type="filepath", label="Photo", elem_id="photo-input")
        record = gr.JSON(label="Record", elem_id="photo-record")
    run = gr.Button("Recognize", variant="primary", elem_id="photo-run")
    run.click(recognize, picture, [record, chosen], api_name="photo")
