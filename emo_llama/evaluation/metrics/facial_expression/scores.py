"""The metrics of expression recognition with their 95% intervals, in plain NumPy.

WAR (weighted average recall) is accuracy; UAR (unweighted average recall) is the mean recall of the
classes. A row without an answer counts as an error and lowers the coverage; it never leaves the
count. The file travels to the Hub beside the metric, so that it imports nothing but NumPy and
raises the builtin errors.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Counts",
    "as_labels",
    "classification_metrics",
    "confusion_matrix",
    "count",
    "expression_scores",
    "interval",
    "macro_f1",
    "resample",
    "uar",
    "war",
    "wilson_interval",
]

Label = int | str

NO_ANSWER = -1
"""What stands for a prediction where there is none."""

RESAMPLES = 2000
SEED = 0
INTERVAL = (0.025, 0.975)
Z = 1.959963984540054
"""The standard normal's 97.5% quantile: intervals hold 95%."""
SHOWN = 12
"""So many labels are named in a message."""


class Counts(NamedTuple):
    """Rows of each class; all metrics follow from these.

    Args:
        hits (`np.ndarray` of shape `(..., C)`): Those that are named rightly.
        support (`np.ndarray` of shape `(..., C)`): Those that are of the class.
        named (`np.ndarray` of shape `(..., C)`): Those that are said to be.
    """

    hits: np.ndarray
    support: np.ndarray
    named: np.ndarray


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
    cells = _cells(labels, predictions, num_classes)
    counts = np.bincount(cells, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1)


def count(confusion: np.ndarray) -> Counts:
    """The rows of each class in a confusion matrix.

    Args:
        confusion (`np.ndarray` of shape `(C, C + 1)`):
            As [`confusion_matrix`] gives it.

    Returns:
        [`Counts`]: Each of shape `(C,)`.
    """
    return Counts(np.diagonal(confusion), confusion.sum(1), confusion[:, :-1].sum(0))


def war(counts: Counts) -> np.ndarray:
    """Share of the rows that are right.

    Args:
        counts ([`Counts`]): Each of shape `(..., C)`.

    Returns:
        `np.ndarray` of shape `(...)`: In [0, 1].
    """
    return counts.hits.sum(-1) / counts.support.sum(-1)


def uar(counts: Counts) -> np.ndarray:
    """Mean recall of the classes that occur.

    Args:
        counts ([`Counts`]): Each of shape `(..., C)`.

    Returns:
        `np.ndarray` of shape `(...)`: In [0, 1].
    """
    recall = counts.hits / np.maximum(counts.support, 1)  # 0 of 0 is 0, and is not counted below
    return recall.sum(-1) / (counts.support > 0).sum(-1)


def macro_f1(counts: Counts) -> np.ndarray:
    """Mean F1 of the classes that occur among the labels or the predictions.

    Args:
        counts ([`Counts`]): Each of shape `(..., C)`.

    Returns:
        `np.ndarray` of shape `(...)`: In [0, 1].
    """
    both = counts.support + counts.named
    f1 = 2 * counts.hits / np.maximum(both, 1)
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
    >>> from emo_llama.evaluation.metrics.facial_expression.scores import wilson_interval

    >>> low, high = wilson_interval(8, 10)
    >>> f"{low:.3f} {high:.3f}"
    '0.490 0.943'
    ```
    """
    share, extra = hits / n, Z**2 / n
    centre = (share + extra / 2) / (1 + extra)
    reach = Z / (1 + extra) * np.sqrt(share * (1 - share) / n + extra / (4 * n))
    return float(max(centre - reach, 0.0)), float(min(centre + reach, 1.0))


def resample(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> Counts:
    """Counts of rows drawn with replacement 2,000 times, the same rows for every run.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int):
            Class of each row.
        predictions (`np.ndarray` of shape `(runs, n)`, int):
            Predicted class of each row, or -1, by each of the runs that are compared.
        num_classes (`int`):
            How many classes there are.

    Returns:
        [`Counts`]: Each of shape `(runs, 2000, C)`; the seed is fixed.
    """
    cells = _cells(labels, predictions, num_classes)  # (runs, n)
    # Rows that are alike in every run are one outcome of a multinomial: the same, without the rows.
    outcomes, often = np.unique(cells, axis=1, return_counts=True)  # (runs, K), (K,)
    generator = np.random.default_rng(SEED)
    # The empty outcome at the end makes the draws those of a whole confusion matrix with its empty
    # cells, so that numbers of old reports come out again to the last digit.
    shares = np.append(often, 0) / len(labels)
    drawn = generator.multinomial(len(labels), shares, size=RESAMPLES)[:, :-1]  # (2000, K)
    true, said = (
        part[..., None] == np.arange(num_classes) for part in np.divmod(outcomes, num_classes + 1)
    )  # (runs, K, C); no answer is of no class
    drawn = drawn.astype(float)  # products of floats are quick
    return Counts(*(drawn @ part for part in (true & said, true, said)))


def interval(values: np.ndarray) -> list[float]:
    """The 95% interval of a number out of its values on resamples.

    Args:
        values (`np.ndarray` of shape `(2000,)`):
            One a resample.

    Returns:
        `list[float]`: Lower and upper end.
    """
    return np.quantile(values, INTERVAL).tolist()


def classification_metrics(
    labels: np.ndarray, predictions: np.ndarray, names: Sequence[Label]
) -> dict[str, Any]:
    """All metrics of one split, from numbers of classes.

    Args:
        labels (`np.ndarray` of shape `(n,)`, int):
            Class of each row; n is at least 1.
        predictions (`np.ndarray` of shape `(n,)`, int):
            Predicted class of each row, or -1 where there is no answer.
        names (`Sequence[str]` or `Sequence[int]`):
            Name of each class.

    Returns:
        `dict[str, Any]`: `war`, `uar`, `macro_f1`, `n`, `coverage`, `per_class` (recall and n by
        name; recall is `None` for a class without rows), `labels`, `confusion` (a row a label, a
        column a prediction) and `intervals` (95%; Wilson for WAR, bootstrap over the rows with a
        fixed seed for UAR and macro F1). Fractions, not per cent.
    """
    confusion = confusion_matrix(labels, predictions, len(names))
    counts = count(confusion)
    n = int(counts.support.sum())
    drawn = resample(labels, predictions[None], len(names))  # (1, 2000, C)
    return {
        "war": float(war(counts)),
        "uar": float(uar(counts)),
        "macro_f1": float(macro_f1(counts)),
        "n": n,
        "coverage": 1 - int(confusion[:, -1].sum()) / n,
        "per_class": {
            name: {"recall": float(hits / rows) if rows else None, "n": int(rows)}
            for name, hits, rows in zip(names, counts.hits, counts.support, strict=True)
        },
        "labels": list(names),
        "confusion": confusion[:, :-1].tolist(),
        "intervals": {
            "war": list(wilson_interval(int(counts.hits.sum()), n)),
            "uar": interval(uar(drawn)[0]),
            "macro_f1": interval(macro_f1(drawn)[0]),
        },
    }


def expression_scores(
    predictions: Any, references: Any, labels: Iterable[Label] | None = None
) -> dict[str, Any]:
    """All metrics of one split, from names or numbers of labels.

    Args:
        predictions (list, array or tensor of shape `(n,)`, `str`, `int` or `None`):
            What is said of each row; `None` is no answer, and counts as an error.
        references (list, array or tensor of shape `(n,)`, `str` or `int`):
            What is true of each row.
        labels (`Iterable[str]` or `Iterable[int]`, *optional*):
            All labels, in the order of the results. Where rows are whole numbers and these are
            names, a row is the place of its name. By default the labels that occur, sorted.

    Returns:
        `dict[str, Any]`: As [`classification_metrics`] gives it.

    Raises:
        ValueError: There are no rows, the two differ in number or kind, or hold what is no label or
            none out of `labels`.

    Example, by hand: of four happy rows two are right, one is called sad and one has no answer; of
    two sad rows one is right. WAR = 3/6, UAR = (2/4 + 1/2) / 2, macro F1 = (4/7 + 2/4) / 2.

    ```python
    >>> from emo_llama.evaluation.metrics.facial_expression.scores import expression_scores

    >>> references = ["happy"] * 4 + ["sad"] * 2
    >>> predictions = ["happy", "happy", "sad", None, "sad", "happy"]
    >>> scores = expression_scores(predictions, references)
    >>> scores["war"], scores["uar"], round(scores["macro_f1"], 4)
    (0.5, 0.5, 0.5357)
    >>> scores["confusion"], scores["n"], round(scores["coverage"], 4)
    ([[2, 1], [1, 1]], 6, 0.8333)
    >>> scores["per_class"]["sad"]
    {'recall': 0.5, 'n': 2}
    ```
    """
    said, true = as_labels(predictions, "predictions"), as_labels(references, "references")
    _check_rows(said, true)
    given = true + [label for label in said if label is not None]
    rows = labels if labels is None or isinstance(labels, str) else list(labels)
    names = sorted(set(given)) if rows is None else as_labels(rows, "labels")
    if None in names or not 0 < len(set(names)) == len(names):
        raise ValueError(f"expected different names in `labels`, got {_listed(names)}.")
    known = range(len(names)) if _is_number(true[0]) and not _is_number(names[0]) else names
    place = {label: number for number, label in enumerate(known)}
    for what, side in (("reference", true), ("prediction", said)):
        for row, label in enumerate(side):
            if label not in place and label is not None:
                raise ValueError(
                    f"{what} {row} is {label!r}, expected one of {_listed(known)}. Name it in "
                    "`labels`, or map it to one of them; a prediction may be None, no answer."
                )
    columns = [place.get(label, NO_ANSWER) for label in said]
    return classification_metrics(np.array([place[r] for r in true]), np.array(columns), names)


def as_labels(values: Any, what: str) -> list[Any]:
    """Labels as Python's own strings and whole numbers.

    Args:
        values (list, array or tensor of shape `(n,)`):
            What is read.
        what (`str`):
            Its name, for messages.

    Returns:
        `list[str | int | None]`: As many.

    Raises:
        ValueError: It is no list, or holds something else.
    """
    read = np.asarray(values, dtype=object)  # of objects, or a number among names became a string
    if read.ndim == 0:
        raise ValueError(f"expected {what} as a list of one label a row, got {values!r}.")
    if read.ndim > 1:
        raise ValueError(
            f"expected {what} as a list of one label a row, got the shape {read.shape}. Of scores "
            "take the label first, as in scores.argmax(-1)."
        )
    return [_as_label(value, what, row) for row, value in enumerate(read.tolist())]


def _as_label(value: Any, what: str, row: int) -> Label | None:
    """One label; what NumPy or a framework wraps becomes Python's own."""
    if value is None or type(value) in (str, int):
        return value
    wrapped = np.asarray(value)
    plain = value if wrapped.ndim else wrapped.item()
    if isinstance(plain, str):
        return plain
    if isinstance(plain, (int, float)) and float(plain).is_integer():
        return int(plain)
    raise ValueError(
        f"{what}[{row}] is {value!r}, expected the name or the whole number of a label"
        + (", or None where there is no answer." if what == "predictions" else ".")
    )


def _check_rows(said: list[Any], true: list[Any]) -> None:
    """There are rows, each with its label, and all labels are of one kind."""
    if len(said) != len(true):
        raise ValueError(
            f"expected one prediction for each reference, got {len(said):,} predictions and "
            f"{len(true):,} references. A row without an answer has the prediction None."
        )
    if not true:
        raise ValueError("expected at least one row, got none: there is nothing to measure.")
    if None in true:
        raise ValueError(
            f"reference {true.index(None)} is None: leave out rows whose label is not known, and "
            "their predictions. Only a prediction may be None, for no answer."
        )
    kinds = {_is_number(label): label for label in said + true if label is not None}
    if len(kinds) > 1:
        raise ValueError(
            f"expected predictions and references of one kind, got {kinds[False]!r} as well as "
            f"{kinds[True]!r}. Give names to both, or the number of the name to both."
        )


def _is_number(label: Any) -> bool:
    return isinstance(label, int)


def _listed(labels: Sequence[Any]) -> str:
    """Labels for a message."""
    more = f" and {len(labels) - SHOWN:,} more" if len(labels) > SHOWN else ""
    return ", ".join(map(repr, labels[:SHOWN])) + more if len(labels) else "none"


def _cells(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Pairs of label and prediction as numbers in base C + 1, of the predictions' shape."""
    columns = np.where(predictions == NO_ANSWER, num_classes, predictions)
    return labels * (num_classes + 1) + columns
