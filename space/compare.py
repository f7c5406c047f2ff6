"""The tab that sets two ways of looking at one photo beside each other."""

import gradio as gr

from emo_llama import EmotionRecognizer

__all__ = ["build_compare"]


def build_compare(recognizer: EmotionRecognizer) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
    """
    del recognizer
    gr.Markdown("Nothing to compare yet.")
