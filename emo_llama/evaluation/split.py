"""Scores one split of a built data set by label likelihood.

Reads the folder row by row, so that memory does not grow with the split. The label that is most
likely under the model is the prediction; no text is generated and none is parsed.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np
from PIL import Image

from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.evaluation.metrics import classification_metrics
from emo_llama.labels import label_name

__all__ = ["SCORER", "LabelScorer", "evaluate_split", "read_split"]

SCORER = "label likelihood"
"""How an answer is found; stands in every report."""

CONFIG = "category"
COLUMNS = {"images", "label", "labels", "rule"}


class LabelScorer(Protocol):
    """What is evaluated, for example an [`~emo_llama.EmotionRecognizer`]."""

    labels: tuple[str, ...]

    def score_labels(self, images: Sequence[Image.Image], *, batch_size: int = ...) -> np.ndarray:
        """Probability of each label for each picture, (n, n_labels)."""


def read_split(folder: str | Path, split: str) -> datasets.IterableDataset:
    """Open a split of a folder that `emo-llama data build` wrote.

    Args:
        folder (`str` or `Path`):
            The folder.
        split (`str`):
            For example `"validation"`.

    Returns:
        `datasets.IterableDataset`: Its rows; nothing is copied to a cache.

    Raises:
        InputNotFoundError: The folder, or in it the README that names its files, is missing.
        UsageError: There is no such split.
        DataFormatError: The folder cannot be read.
    """
    folder = Path(folder)
    if not (folder / "README.md").is_file():
        raise InputNotFoundError(
            f"{folder}: expected a folder that `emo-llama data build` wrote, with a README.md that "
            "names its files. Build one: emo-llama data build ferplus --root DIR --out DIR"
        )
    try:
        splits = datasets.load_dataset(str(folder), CONFIG, streaming=True)
    except (ValueError, FileNotFoundError) as error:
        raise DataFormatError(
            f"{folder}: expected the configuration {CONFIG} of a built data set ({error}). "
            "Build it again: emo-llama data build"
        ) from error
    if split not in splits:
        raise UsageError(f"{folder}: no split {split!r}; there are {', '.join(splits)}")
    return splits[split]


def evaluate_split(
    recognizer: LabelScorer, rows: Iterable[dict[str, Any]], batch_size: int = 64
) -> dict[str, Any]:
    """Score every row of a split and compare with its labels.

    Args:
        recognizer (`LabelScorer`):
            What is evaluated.
        rows (`Iterable[dict]`):
            Built rows: `images`, `label`, `labels`, `rule`.
        batch_size (`int`, *optional*, defaults to 64):
            Rows that are scored at once.

    Returns:
        `dict[str, Any]`: [`~emo_llama.evaluation.metrics.classification_metrics`] over the label
        set of the data, and the `rule` that its labels follow.

    Raises:
        DataFormatError: There are no rows, they are damaged, or they differ in rule or label set.
        UsageError: The model does not know a label of the data.
    """
    targets: list[int] = []
    predictions: list[int] = []
    first: dict[str, Any] = {}
    columns: list[int] = []
    for batch in _batches(rows, batch_size):
        if not first:
            first = batch[0]
            columns = _columns(recognizer.labels, first["labels"])
        if any((row["labels"], row["rule"]) != (first["labels"], first["rule"]) for row in batch):
            raise DataFormatError("the rows of one split must share label set and rule")
        pictures = [row["images"][0].convert("RGB") for row in batch]
        scores = recognizer.score_labels(pictures, batch_size=batch_size)[:, columns]
        predictions += scores.argmax(axis=1).tolist()
        targets += [first["labels"].index(row["label"]) for row in batch]
    if not first:
        raise DataFormatError("expected rows in the split, found none. Build the data set again.")
    metrics = classification_metrics(np.array(targets), np.array(predictions), first["labels"])
    return metrics | {"rule": first["rule"]}


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Lists of at most `size` rows, each checked for its columns."""
    iterator = iter(rows)
    while True:
        try:
            batch = list(islice(iterator, size))
        except (OSError, ValueError) as error:  # what Pillow and Arrow raise on damage
            raise DataFormatError(
                f"the split cannot be read to its end ({error}). Build the data set again."
            ) from error
        if not batch:
            return
        missing = COLUMNS - batch[0].keys()
        if missing:
            raise DataFormatError(
                f"the rows lack {', '.join(sorted(missing))}; expected those of a data set that "
                "`emo-llama data build` wrote"
            )
        yield batch


def _columns(known: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """For each label of the data, the model's column of it; names are compared across sets."""
    names = [label_name(name) for name in known]
    missing = [name for name in wanted if label_name(name) not in names]
    if missing:
        raise UsageError(
            f"the data has the labels {', '.join(missing)}, and the model knows only "
            f"{', '.join(known)}: evaluate a model that was trained on this label set"
        )
    return [names.index(label_name(name)) for name in wanted]
