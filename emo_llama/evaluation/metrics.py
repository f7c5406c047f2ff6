"""The metrics of expression recognition with their 95% intervals, in plain NumPy.

WAR (weighted average recall) is accuracy; UAR (unweighted average recall) is the mean recall of the
classes. A row without an answer counts as an error and lowers the coverage; it never leaves the
count. Everything follows from one confusion matrix.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "classification_metrics",
    "confusion_matrix",
    "macro_f1",
    "uar",
    "war",
    "wilson_interval",
]

NO_ANSWER = -1
"""What stands for a prediction where there is none."""

RESAMPLES = 2000
SEED = 0
Z = 1.959963984540054
"""The standard normal's 97.5% quantile: intervals hold 95%."""


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pairs of label and prediction.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int):
            Class of each row.
        predictions (`np.ndarray` of shape `(n,)`, int):
            Predicted class of each row, or -1 where there is no answer.
        num_classes (`int`):
            How many classes there are.

    Returns:
        `np.ndarray` of shape `(num_classes, num_classes + 1)`, int64: A row a label, a column a
        prediction; the last column is no answer.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    columns = np.where(predictions == NO_ANSWER, num_classes, predictions)
    # pairs as numbers in base C + 1: one bincount in place of a loop over rows
    cells = labels * (num_classes + 1) + columns
    counts = np.bincount(cells, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1)


def war(confusion: np.ndarray) -> np.ndarray:
    """Share of the rows that are right.

    Args:
        confusion (`np.ndarray` of shape `(..., C, C + 1)`):
            As [`confusion_matrix`] gives it, or many of them.

    Returns:
        `np.ndarray` of shape `(...)`: In [0, 1].
    """
    return _hits(confusion).sum(-1) / confusion.sum((-1, -2))


def uar(confusion: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur.

    Args:
        confusion (`np.ndarray` of shape `(..., C, C + 1)`):
            As [`confusion_matrix`] gives it, or many of them.

    Returns:
        `np.ndarray` of shape `(...)`: In [0, 1].
    """
    support = confusion.sum(-1)
    recall = _hits(confusion) / np.maximum(support, 1)  # 0 of 0 is 0, and is not counted below
    return recall.sum(-1) / (support > 0).sum(-1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur among the labels or the predictions.

    Args:
        confusion (`np.ndarray` of shape `(..., C, C + 1)`):
            As [`confusion_matrix`] gives it, or many of them.

    Returns:
        `np.ndarray` of shape `(...)`: In [0, 1].
    """
    # F1 = 2 hits / (labels + predictions of the class)
    both = confusion.sum(-1) + confusion[..., :-1].sum(-2)
    f1 = 2 * _hits(confusion) / np.maximum(both, 1)
    return f1.sum(-1) / (both > 0).sum(-1)


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share, after Wilson (1927).

    Args:
        hits (`int`):
            How many are right.
        n (`int`):
            Of how many.

    Returns:
        `tuple[float, float]`: Lower and upper end, in [0, 1].

    Example:

    ```python
    >>> from emo_llama.evaluation.metrics import wilson_interval

    >>> low, high = wilson_interval(8, 10)
    >>> f"{low:.3f} {high:.3f}"
    '0.490 0.943'
    ```
    """
    share, extra = hits / n, Z**2 / n
    centre = (share + extra / 2) / (1 + extra)
    reach = Z / (1 + extra) * np.sqrt(share * (1 - share) / n + extra / (4 * n))
    return float(max(centre - reach, 0.0)), float(min(centre + reach, 1.0))


def classification_metrics(
    labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """All metrics of one split.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int):
            Class of each row; n is at least 1.
        predictions (`np.ndarray` of shape `(n,)`, int):
            Predicted class of each row, or -1 where there is no answer.
        names (`Sequence[str]`):
            Name of each class.

    Returns:
        `dict[str, Any]`: `war`, `uar`, `macro_f1`, `n`, `coverage`, `per_class` (recall and n by
        name; recall is `None` for a class without rows), `labels`, `confusion` (a row a label, a
        column a prediction) and `intervals` (95%; Wilson for WAR, bootstrap over the rows with a
        fixed seed for UAR and macro F1). Fractions, not per cent.
    """
    confusion = confusion_matrix(labels, predictions, len(names))
    support, hits = confusion.sum(1), _hits(confusion)
    n = int(support.sum())
    # Rows drawn with replacement give multinomial counts of the cells: the same, without the rows.
    generator = np.random.default_rng(SEED)
    drawn = generator.multinomial(n, confusion.ravel() / n, size=RESAMPLES)
    drawn = drawn.reshape(RESAMPLES, *confusion.shape)  # (RESAMPLES, C, C + 1)
    return {
        "war": float(war(confusion)),
        "uar": float(uar(confusion)),
        "macro_f1": float(macro_f1(confusion)),
        "n": n,
        "coverage": 1 - int(confusion[:, -1].sum()) / n,
        "per_class": {
            name: {"recall": float(hit / count) if count else None, "n": int(count)}
            for name, hit, count in zip(names, hits, support, strict=True)
        },
        "labels": list(names),
        "confusion": confusion[:, :-1].tolist(),
        "intervals": {
            "war": list(wilson_interval(int(hits.sum()), n)),
            "uar": np.quantile(uar(drawn), (0.025, 0.975)).tolist(),
            "macro_f1": np.quantile(macro_f1(drawn), (0.025, 0.975)).tolist(),
        },
    }


def _hits(confusion: np.ndarray) -> np.ndarray:
    """The diagonal: right answers by class."""
    return np.diagonal(confusion, axis1=-2, axis2=-1)
