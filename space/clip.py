"""The tab of one clip: each person's probabilities over its time."""

from typing import Any

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.space.chosen import Chosen
from emo_llama.space.gpu import on_gpu

__all__ = ["build_clip"]


def build_clip(recognizer: EmotionRecognizer, chosen: gr.State) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
        chosen (`gradio.State` of [`Chosen`]):
            Set to the clip once it was looked at.
    """

    @on_gpu
    def recognize(path: str | None) -> tuple[dict[str, Any], Chosen]:
        """Recognise the expressions of every person in a clip, as one record."""
        if path is None:
            raise gr.Error("There is no clip yet. Upload one, or record one with the camera.")
        result = recognizer.recognize(path)
        if result.error:
            raise gr.Error(result.error["message"])
        return {**result.to_dict(), "path": None}, Chosen(video=path)

    with gr.Row():
        clip = gr.Video(label="Clip", elem_id="clip-input")
        record = gr.JSON(label="Record", elem_id="clip-record")
    run = gr.Button("Recognize", variant="primary", elem_id="clip-run")
    run.click(recognize, clip, [record, chosen], api_name="clip")
