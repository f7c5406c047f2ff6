"""The tab that says what the model is, what it is not for, and what is kept."""

import gradio as gr

from emo_llama import EmotionRecognizer, __version__

__all__ = ["build_about"]


def build_about(recognizer: EmotionRecognizer) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
    """
    gr.Markdown(
        f"emo-llama {__version__}, a model of {recognizer.model.num_parameters():,} parameters."
    )
