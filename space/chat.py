"""The tab of a conversation about the chosen face or clip."""

import gradio as gr

from emo_llama import EmotionRecognizer
from emo_llama.space.chosen import Chosen
from emo_llama.space.gpu import on_gpu

__all__ = ["build_chat"]


def build_chat(recognizer: EmotionRecognizer, chosen: gr.State) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
        chosen (`gradio.State` of [`Chosen`]):
            What is talked about.
    """

    @on_gpu
    def answer(question: str, about: Chosen) -> str:
        """Answer a question about what is chosen."""
        source = about.video or about.image
        if source is None:
            raise gr.Error("Choose a face in the tab Photo, or a clip in the tab Clip, first.")
        return recognizer.ask(source, question)

    question = gr.Textbox(label="Question", elem_id="chat-question")
    reply = gr.Textbox(label="Answer", elem_id="chat-answer")
    question.submit(answer, [question, chosen], reply, api_name="chat")
