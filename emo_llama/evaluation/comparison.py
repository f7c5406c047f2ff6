"""Two models on the same rows: how much better is one, and could that be chance?

Rows that both models have right or wrong say nothing of the difference; only those do on which they
part (McNemar 1947).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from emo_llama.evaluation.metrics.facial_expression.scores import (
    confusion_matrix,
    count,
    interval,
    resample,
    uar,
    war,
)

__all__ = ["compare", "mean_over_runs"]


def mean_over_runs(
    labels: np.ndarray, predictions: Sequence[np.ndarray], num_classes: int
) -> dict[str, Any]:
    """Accuracy and mean recall of one setting, over runs that differ in their seed.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int): Class of each row.
        predictions (`Sequence[np.ndarray]`, each of shape `(n,)`): Of each run.
        num_classes (`int`): How many classes there are.

    Returns:
        `dict[str, Any]`: `war` and `uar`, means over the runs, their `intervals` (95%, bootstrap
        over the rows, all runs together), and `runs`, both for each run. Fractions.
    """
    matrices = [confusion_matrix(labels, guess, num_classes) for guess in predictions]
    runs = [
        {"war": float(war(counts)), "uar": float(uar(counts))} for counts in map(count, matrices)
    ]
    drawn = resample(labels, np.stack(predictions), num_classes)  # (runs, resamples, C)
    return {
        "war": float(np.mean([run["war"] for run in runs])),
        "uar": float(np.mean([run["uar"] for run in runs])),
        "intervals": {
            "war": interval(war(drawn).mean(0)),
            "uar": interval(uar(drawn).mean(0)),
        },
        "runs": runs,
    }


def compare(
    labels: np.ndarray,
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    num_classes: int,
) -> dict[str, Any]:
    """How much more accurate a setting is than another, run by run with the same seeds.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int): Class of each row.
        first (`Sequence[np.ndarray]`, each of shape `(n,)`): Predictions of each run of one.
        second (`Sequence[np.ndarray]`): Of the other, as many.
        num_classes (`int`): How many classes there are.

    Returns:
        `dict[str, Any]`: `difference` of the accuracies (first minus second), its 95% `interval`
        (bootstrap over the rows, all runs together), and `runs`: for each pair of runs `gained` and
        `lost` rows and the exact two-sided `p` of McNemar's test.
    """
    ahead = [np.asarray(a == labels, int) for a in first]
    behind = [np.asarray(b == labels, int) for b in second]
    runs = []
    # McNemar: rows on which both are right or both wrong say nothing; of the others, with no
    # difference, each would be as likely gained as lost
    for better, worse in zip(ahead, behind, strict=True):
        gained, lost = int((better > worse).sum()), int((better < worse).sum())
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        runs.append({"gained": gained, "lost": lost, "p": float(p)})
    # resampled together: a row is drawn for both or for neither
    drawn = war(resample(labels, np.stack([*first, *second]), num_classes))  # (runs, resamples)
    change = drawn[: len(first)].mean(0) - drawn[len(first) :].mean(0)
    return {
        "difference": float(np.mean(ahead) - np.mean(behind)),
        "interval": interval(change),
        "runs": runs,
    }
