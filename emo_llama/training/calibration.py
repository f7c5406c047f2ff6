"""Fits the temperature of label likelihoods, so that probabilities mean what they say."""

from pathlib import Path
from typing import Any

import numpy as np

from emo_llama.evaluation.split import read_split, score_split
from emo_llama.recognizer import EmotionRecognizer

__all__ = ["calibrate"]

MIN_ROWS = 100


def calibrate(model_dir: Path, data: Path, attributes: str = "off") -> float:
    """Fits the temperature of label likelihoods to the validation split, and saves it.

    Fewer than `MIN_ROWS` rows cannot tell it, and leave it as it is.

    Args:
        model_dir (`Path`): A model folder.
        data (`Path`): Built instruction data; its validation split is read.
        attributes (`str`, *optional*, defaults to `"off"`): As the model is asked.

    Returns:
        `float`: The temperature (Guo et al. 2017, arXiv 1706.04599).
    """
    recognizer = EmotionRecognizer.from_pretrained(
        model_dir, detector="none", attributes=attributes
    )
    scored = score_split(recognizer, read_split(data, "validation"))
    config: Any = recognizer.model.config
    if len(scored.targets) < MIN_ROWS:
        return config.label_temperature
    scores = np.log(np.maximum(scored.probabilities, 1e-30))
    grid = np.geomspace(0.25, 8, 101)
    losses = [_likelihood_loss(scores / temperature, scored.targets) for temperature in grid]
    best = float(grid[int(np.argmin(losses))])
    config.label_temperature = round(best * config.label_temperature, 4)
    config.save_pretrained(model_dir)
    return config.label_temperature


def _likelihood_loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood of the targets under unnormalised log scores (n, L)."""
    shifted = scores - scores.max(1, keepdims=True)
    return float(
        (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(targets)), targets]).mean()
    )
