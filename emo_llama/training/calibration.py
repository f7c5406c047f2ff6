"""Fits the temperature of label likelihoods, and corrects them for how often labels come.

Decides what `label_temperature` and `label_bias` of a tuned model are.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from emo_llama.evaluation.split import ScoredSplit
from emo_llama.modeling import EmoLlamaConfig

__all__ = ["calibrate", "prior_bias"]

MIN_ROWS = 100


def prior_bias(shown: Iterable[str], labels: Sequence[str], power: float) -> list[float] | None:
    """The bias that makes up for rare labels (Menon et al. 2021, arXiv 2007.07314).

    Args:
        shown (`Iterable[str]`): The label of every row that is learned from.
        labels (`Sequence[str]`): The labels, in order.
        power (`float`):
            0 leaves rare labels as unlikely as they are, 1 takes all labels for equally likely.

    Returns:
        `list[float]`: Minus `power` times the logarithm of each label's share, with mean 0; `None`
        where `power` is 0.
    """
    if not power:
        return None
    counts = Counter(shown)
    rarity = -np.log([max(counts[label], 1) for label in labels])
    return [round(float(bias), 4) for bias in power * (rarity - rarity.mean())]


def calibrate(scored: ScoredSplit, config: EmoLlamaConfig) -> ScoredSplit:
    """Fits the temperature of label likelihoods to a scored split.

    Fewer than `MIN_ROWS` rows cannot tell it, and leave it as it is. The model's `label_bias` stays
    out of it.

    Args:
        scored ([`ScoredSplit`]): The validation split under the model.
        config ([`EmoLlamaConfig`]): Of the model; its `label_temperature` is set
            (Guo et al. 2017, arXiv 1706.04599).

    Returns:
        [`ScoredSplit`]: As the model scores the split from now on.
    """
    if len(scored.targets) < MIN_ROWS:
        return scored
    before, bias = config.label_temperature, np.array(config.label_bias or 0.0)
    # The model's scores but for a constant a row, which softmax does not see. The bias was added
    # behind the temperature, and goes back there.
    scores = np.log(np.maximum(scored.probabilities, 1e-30)) - bias  # (n, L)
    grid = np.geomspace(0.25, 8, 101)
    losses = [_likelihood_loss(scores / temperature, scored.targets) for temperature in grid]
    # What was scored is divided by `before` already: the best of the grid comes on top.
    config.label_temperature = round(float(grid[int(np.argmin(losses))]) * before, 4)
    scores = scores * before / config.label_temperature + bias
    likely = np.exp(scores - scores.max(1, keepdims=True))  # the largest is 1: nothing overflows
    return replace(scored, probabilities=likely / likely.sum(1, keepdims=True))


def _likelihood_loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood of the targets under unnormalised log scores (n, L)."""
    shifted = scores - scores.max(1, keepdims=True)
    return float(
        (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(targets)), targets]).mean()
    )
