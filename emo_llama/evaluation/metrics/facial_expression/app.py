"""The page of the metric's Space: labels in, one a line, and the numbers out.

A script of its own, run in the folder that it lies in; evaluate's own widget needs an older Gradio.
"""

from pathlib import Path
from typing import Any

import gradio
from scores import expression_scores

EXAMPLE = (
    "happiness\nhappiness\nsadness\n\nsadness\nhappiness",
    "happiness\nhappiness\nhappiness\nhappiness\nsadness\nsadness",
)
MAX_ROWS = 100_000


def compute(predictions: str, references: str) -> dict[str, Any]:
    """Scores of what was typed.

    Args:
        predictions (`str`): A label a line; an empty line is no answer.
        references (`str`): A label a line.

    Returns:
        `dict[str, Any]`: As the metric gives it.
    """
    said = [line.strip() or None for line in predictions.split("\n")]
    true = [line.strip() or None for line in references.split("\n")]
    if max(len(said), len(true)) > MAX_ROWS:
        raise gradio.Error(f"Expected at most {MAX_ROWS:,} rows; load the metric for more.")
    try:
        return expression_scores(said, true)
    except ValueError as error:
        raise gradio.Error(str(error)) from error


def build_demo() -> gradio.Blocks:
    """The page.

    Returns:
        `gradio.Blocks`: Ready to launch.
    """
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
    with gradio.Blocks(title="Facial expression metrics", analytics_enabled=False) as demo:
        gradio.Markdown(text.split("## How to use")[0])
        with gradio.Row():
            said, true = (
                gradio.Textbox(value, label=f"{name}, one a line", lines=8, max_lines=16)
                for value, name in zip(EXAMPLE, ("Predictions", "References"), strict=True)
            )
        button = gradio.Button("Compute", variant="primary")
        button.click(compute, [said, true], gradio.JSON(label="Scores"), api_name="compute")
        gradio.Markdown("## How to use" + text.split("## How to use")[-1])
    return demo


if __name__ == "__main__":
    build_demo().launch()
