"""The metric as `evaluate.load` wants it; the numbers are those of `scores.py` beside it.

evaluate finds by their text what a metric imports, and takes along only what this very file names
as `from .name import`: one import a line, and all numbers in one module.
"""

import json
from typing import Any

import datasets
import evaluate

from .scores import as_labels, expression_scores

_DESCRIPTION = """\
The metrics of facial expression recognition: accuracy (WAR), mean recall of the classes (UAR),
macro F1, recall of each class and the confusion matrix, with 95% intervals. A row without an answer
counts as an error.
"""

_INPUTS = """
Args:
    predictions (list of `str`, `int` or `None`):
        What is said of each row. `None` is no answer; it counts as an error.
    references (list of `str` or `int`):
        What is true of each row.
    labels (list of `str` or `int`, *optional*):
        All labels, in the order of the results. Where rows are whole numbers and these are names, a
        row is the place of its name. By default the labels that occur, sorted.

Returns:
    `dict`: `war`, `uar`, `macro_f1` (fractions), `n`, `coverage`, `per_class` (`recall` and `n` by
    label), `labels`, `confusion` (a row a label, a column a prediction), `intervals` (95%: Wilson
    for `war`, bootstrap over the rows with a fixed seed for `uar` and `macro_f1`).

Example:

    >>> metric = evaluate.load("PATH_OR_REPO/facial_expression")
    >>> said, true = ["happy", None, "sad"], ["happy", "happy", "sad"]
    >>> metric.compute(predictions=said, references=true)["uar"]
    0.75
"""

_CITATION = ""


class FacialExpression(evaluate.Metric):
    """Collects predictions and references, and computes all metrics at the end.

    Rows are kept as JSON: names, numbers and missing answers lie side by side, whichever comes
    first and in whichever process. With a type of its own for each, evaluate decides by the first
    row, and makes 0 of 0.7 and 3 of "3".
    """

    def _info(self) -> evaluate.MetricInfo:
        rows = {name: datasets.Value("string") for name in ("predictions", "references")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(rows),
            license="Apache-2.0",
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Add rows.

        Args:
            predictions (list, array or tensor of shape `(n,)`): What is said of each row.
            references (list, array or tensor of shape `(n,)`): What is true of each row.

        Raises:
            ValueError: They differ in number, or hold what is no label.
        """
        said, true = as_labels(predictions, "predictions"), as_labels(references, "references")
        if len(said) != len(true):
            raise ValueError(
                f"expected one prediction for each reference, got {len(said):,} predictions and "
                f"{len(true):,} references. A row without an answer has the prediction None."
            )
        rows = {"predictions": said, "references": true}
        super().add_batch(**{name: list(map(json.dumps, side)) for name, side in rows.items()})

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Add one row.

        Args:
            prediction (`str`, `int` or `None`): What is said of it.
            reference (`str` or `int`): What is true of it.

        Raises:
            ValueError: One of them is no label.
        """
        self.add_batch(predictions=[prediction], references=[reference])

    def _compute(
        self, *, predictions: list[str], references: list[str], labels: Any = None
    ) -> dict[str, Any]:
        said, true = (list(map(json.loads, side)) for side in (predictions, references))
        return expression_scores(said, true, labels)
