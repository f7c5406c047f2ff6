"""The Space: its tabs, in which order, and how it is started.

`python space/app.py` and `emo-llama space` run the same `main`. What a visitor may send, and how
many are served at a time, is decided in `limits`; the looks in `theme`; each tab in its own module.
"""

import os
import signal
from typing import Any

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.space.about import build_about
from emo_llama.space.chat import build_chat
from emo_llama.space.chosen import Chosen
from emo_llama.space.clip import build_clip
from emo_llama.space.compare import build_compare
from emo_llama.space.limits import LimitedBlocks, launch_settings, queue_settings
from emo_llama.space.photo import build_photo
from emo_llama.space.theme import STYLE, THEME

__all__ = ["MODEL_VARIABLE", "build_demo", "launch", "main"]

MODEL_VARIABLE = "EMO_LLAMA_MODEL"
"""Environment variable that names the model: a folder or a Hub repository."""

INTRODUCTION = """# EMO-LLaMA
How a face looks to others: expression, probabilities and a sentence for every face in a photo or
clip. It does not know what anybody feels."""


def build_demo(recognizer: EmotionRecognizer) -> LimitedBlocks:
    """Build the page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model behind it, shared by all visitors.

    Returns:
        [`LimitedBlocks`]: Ready for [`launch`].
    """
    with LimitedBlocks(title="EMO-LLaMA") as demo:
        gr.Markdown(INTRODUCTION, elem_id="introduction")
        chosen = gr.State(Chosen())
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab("Photo", id="photo", elem_id="photo"):
                build_photo(recognizer, chosen)
            with gr.Tab("Clip", id="clip", elem_id="clip"):
                build_clip(recognizer, chosen)
            with gr.Tab("Chat", id="chat", elem_id="chat"):
                build_chat(recognizer, chosen)
            with gr.Tab("Compare", id="compare", elem_id="compare"):
                build_compare(recognizer)
            with gr.Tab("About", id="about", elem_id="about"):
                build_about(recognizer)
    return demo


def launch(
    demo: LimitedBlocks, host: str | None = None, port: int | None = None, **changes: Any
) -> tuple[Any, str, str | None]:
    """Serve the page, with the limits of `limits` and no tunnel.

    Args:
        demo ([`LimitedBlocks`]):
            What [`build_demo`] gave.
        host (`str`, *optional*):
            The address to listen on; that of `GRADIO_SERVER_NAME`, else this machine alone.
        port (`int`, *optional*):
            The port; the first free one from 7860, by default.
        changes (`dict`, *optional*):
            Of gradio's own settings of a launch, as `prevent_thread_lock`.

    Returns:
        `tuple[fastapi.FastAPI, str, str | None]`: The server, its address, and nothing.
    """
    settings = {"theme": THEME, "css_paths": [STYLE]} | launch_settings(demo) | changes
    return demo.queue(**queue_settings()).launch(server_name=host, server_port=port, **settings)


def main(model: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """Load the model and serve the page until it is interrupted.

    Args:
        model (`str`, *optional*):
            A folder or a Hub repository; by default what `EMO_LLAMA_MODEL` names, else the embedded
            model.
        host (`str`, *optional*):
            As in [`launch`].
        port (`int`, *optional*):
            As in [`launch`].

    Raises:
        ModelNotFoundError: There is no such model.
    """
    # As Ctrl-C does it: the server shuts down, and what visitors sent is deleted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    source = model or os.environ.get(MODEL_VARIABLE) or None
    launch(build_demo(EmotionRecognizer.from_pretrained(source)), host, port)


if __name__ == "__main__":
    main()
