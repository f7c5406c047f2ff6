"""Two models on the same rows: how much better is one, and could that be chance?

Rows that both models have right or wrong say nothing of the difference; only those do on which they
part (McNemar 1947).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from emo_llama.evaluation.metrics import confusion_matrix, uar

__all__ = ["compare", "mean_over_runs"]

RESAMPLES = 2000
SEED = 0
INTERVAL = (0.025, 0.975)


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
    right = np.stack([guess == labels for guess in predictions])  # (runs, n)
    matrices = [confusion_matrix(labels, guess, num_classes) for guess in predictions]
    runs = [
        {"war": float(row.mean()), "uar": float(uar(matrix))}
        for row, matrix in zip(right, matrices, strict=True)
    ]
    hits = right.mean(0)  # (n,), the share of the runs that are right
    drawn = _drawn(len(labels))
    recalls = []
    for known in np.unique(labels):
        inside = drawn * (labels == known)  # (RESAMPLES, n)
        recalls.append((inside @ hits) / np.maximum(inside.sum(1), 1))  # (RESAMPLES,)
    return {
        "war": float(hits.mean()),
        "uar": float(np.mean([run["uar"] for run in runs])),
        "intervals": {
            "war": np.quantile(drawn @ hits / len(labels), INTERVAL).tolist(),
            "uar": np.quantile(np.mean(recalls, axis=0), INTERVAL).tolist(),
        },
        "runs": runs,
    }


def compare(
    labels: np.ndarray, first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> dict[str, Any]:
    """How much more accurate a setting is than another, run by run with the same seeds.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int): Class of each row.
        first (`Sequence[np.ndarray]`, each of shape `(n,)`): Predictions of each run of one.
        second (`Sequence[np.ndarray]`): Of the other, as many.

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
    change = np.mean(ahead, axis=0) - np.mean(behind, axis=0)  # (n,), paired row by row
    return {
        "difference": float(change.mean()),
        "interval": np.quantile(_drawn(len(labels)) @ change / len(labels), INTERVAL).tolist(),
        "runs": runs,
    }


def _drawn(count: int) -> np.ndarray:
    """How often each row is drawn in each resample, (RESAMPLES, count)."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.int32)
