"""The tab that says what the model is, what it is not for, and what is kept."""

import re
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import gradio as gr

from emo_llama import EmotionRecognizer, __version__
from emo_llama.hub.card import model_card

__all__ = ["build_about", "card_text"]

PURPOSE = """## What this is for

It says how a face looks **to others**, as people voted on pictures of faces. It does not know what
anybody feels: faces do not show feelings reliably.

**Not for workplaces or education.** To infer emotions there is prohibited in the European Union
since 2 February 2025 (AI Act, Article 5(1)(f)), medical and safety reasons apart. Other uses may be
high-risk under the same Act, and people who are exposed to it must be told. **Not for decisions
about people**: hiring, policing, credit, insurance, border control, lie detection. This is no legal
advice.

## What it cannot do

- Real, faint, mixed and partly hidden expressions are harder than posed ones. Disgust, fear and
  contempt are rare in its training data, and often missed.
- Small, turned and covered faces are not found. Drawings are not what it learned from.
- Its accuracy differs between people, and has not been measured by age, gender or skin tone.
- On pictures unlike those that it was calibrated on, its probabilities are too sure.

## What is kept: nothing

A picture or clip is kept in a temporary file while your page works with it, and deleted afterwards;
what was recognised stays in the memory of your session, and ends with it. Nothing is logged, used
for training, or sent anywhere else. This page asks nothing of any other host, and sets no cookie to
follow you."""

PACKAGES = ("torch", "transformers", "gradio")


def build_about(recognizer: EmotionRecognizer) -> None:
    """Add the tab to the open page.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.
    """
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    detector = type(recognizer.detector).__name__ if recognizer.detector else "no face detector"
    parts = f"emo-llama {__version__}, {detector}, {versions}, Python {python_version()}"
    gr.Markdown(PURPOSE, elem_id="about-purpose")
    gr.Markdown(f"## Versions\n\n{parts}", elem_id="about-versions")
    with gr.Accordion("The card of the model", open=False, elem_id="about-card-box"):
        gr.Markdown(card_text(recognizer), elem_id="about-card", latex_delimiters=[])


def card_text(recognizer: EmotionRecognizer) -> str:
    """The card that lies beside the weights, else what the configuration tells.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.

    Returns:
        `str`: Markdown without front matter, and without pictures, which a browser would fetch from
        wherever a card says.
    """
    model = recognizer.model
    path = Path(model.config.name_or_path, "README.md") if model.config.name_or_path else None
    if path is not None and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        text = model_card("This model", model.config, model.num_parameters())
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"!\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])?", r"\1", text)
    return text.replace("<", "&lt;").strip()
