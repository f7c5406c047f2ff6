"""How the Space looks: system fonts, so that the page asks no other host for one."""

from pathlib import Path

import gradio as gr

__all__ = ["STYLE", "THEME"]

STYLE = Path(__file__).with_name("style.css")
"""What the theme cannot say."""

THEME = gr.themes.Default(
    primary_hue="indigo",
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
)
"""Light and dark."""
