"""Scores one split of a built data set by label likelihood.

Reads the folder row by row, so that memory does not grow with the split. The label that is most
likely under the model is the prediction; no text is generated and none is parsed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np
from datasets import List
from PIL import Image

from emo_llama.errors import DataFormatError, InputNotFoundError, MediaError, UsageError
from emo_llama.evaluation.metrics.facial_expression.scores import (
    NO_ANSWER,
    classification_metrics,
)
from emo_llama.labels import label_name
from emo_llama.media import read_image

__all__ = [
    "SCORER",
    "ScoresLabels",
    "ScoredSplit",
    "Unread",
    "evaluate_split",
    "read_split",
    "score_split",
    "split_report",
]

SCORER = "label likelihood"
"""How an answer is found; stands in every report."""

CONFIG = "category"
COLUMNS = {"images", "label", "labels", "rule"}


class ScoresLabels(Protocol):
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
        `datasets.IterableDataset`: Its rows, their pictures as bytes; nothing is copied to a cache.

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
    rows = splits[split]
    if rows.features is None or "images" not in rows.features:
        return rows
    return rows.cast_column("images", List(datasets.Image(decode=False)))


@dataclass(frozen=True, slots=True)
class ScoredSplit:
    """What a model says of the rows of a split, beside what is true of them.

    Args:
        probabilities (`np.ndarray` of shape (n, n_labels), float64):
            Of the labels of the data, in their order.
        targets (`np.ndarray` of shape (n,)):
            Index of each row's label.
        labels (`list[str]`):
            The label set of the data.
        rule (`str`):
            The rule that the labels follow.
        unread (`list[Unread]`, *optional*):
            Rows whose pictures cannot be read; they are in neither array.
    """

    probabilities: np.ndarray
    targets: np.ndarray
    labels: list[str]
    rule: str
    unread: list["Unread"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that could not be scored.

    Args:
        id (`str`): Its name in the data.
        target (`int`): Index of its label.
        message (`str`): What is wrong with it.
    """

    id: str
    target: int
    message: str


def evaluate_split(
    recognizer: ScoresLabels, rows: Iterable[dict[str, Any]], batch_size: int = 64
) -> dict[str, Any]:
    """Score every row of a split and compare with its labels.

    Args:
        recognizer (`ScoresLabels`):
            What is evaluated.
        rows (`Iterable[dict]`):
            Built rows: `images`, `label`, `labels`, `rule`.
        batch_size (`int`, *optional*, defaults to 64):
            Rows that are scored at once.

    Returns:
        `dict[str, Any]`: What the metric gives over the label set of the data, the `rule` that its
        labels follow, and `unread`: the id and fault of each row whose pictures cannot be read.
        Such a row counts as not answered.

    Raises:
        DataFormatError: There are no rows, they are damaged, or they differ in rule or label set.
        UsageError: The model does not know a label of the data.
    """
    return split_report(score_split(recognizer, rows, batch_size))


def split_report(scored: "ScoredSplit") -> dict[str, Any]:
    """Compare what a model says of a split with its labels.

    Args:
        scored ([`ScoredSplit`]):
            What [`score_split`] gave.

    Returns:
        `dict[str, Any]`: As [`evaluate_split`] gives it.
    """
    unread = scored.unread
    targets = np.append(scored.targets, [row.target for row in unread]).astype(int)
    predictions = np.append(scored.probabilities.argmax(axis=1), [NO_ANSWER] * len(unread))
    metrics = classification_metrics(targets, predictions.astype(int), scored.labels)
    named = [{"id": row.id, "message": row.message} for row in unread]
    return metrics | {"rule": scored.rule, "unread": named}


def score_split(
    recognizer: ScoresLabels, rows: Iterable[dict[str, Any]], batch_size: int = 64
) -> ScoredSplit:
    """Score every row of a split; a clip has the mean of its frames.

    Args:
        recognizer (`ScoresLabels`): As in [`evaluate_split`], with the same errors.
        rows (`Iterable[dict]`): Likewise.
        batch_size (`int`, *optional*, defaults to 64): Likewise.

    Returns:
        [`ScoredSplit`]: Probabilities and truth.
    """
    targets: list[int] = []
    parts: list[np.ndarray] = []
    unread: list[Unread] = []
    first: dict[str, Any] = {}
    columns: list[int] = []
    for batch in _batches(rows, batch_size):
        if not first:
            first = batch[0]
            columns = _columns(recognizer.labels, first["labels"])
        _check_labels(batch, first)
        shown = _decoded(batch, unread)
        if not shown:
            continue
        pictures = [picture for _, pictures in shown for picture in pictures]
        scores = recognizer.score_labels(pictures, batch_size=batch_size)[:, columns]
        ends = np.cumsum([len(pictures) for _, pictures in shown])[:-1]
        parts += [frames.mean(axis=0) for frames in np.split(scores, ends)]
        targets += [target for target, _ in shown]
    if not parts:
        why = f"not one could be read ({unread[0].message})" if unread else "found none"
        raise DataFormatError(f"expected rows in the split, {why}. Build the data set again.")
    probabilities = np.stack(parts)
    return ScoredSplit(probabilities, np.array(targets), first["labels"], first["rule"], unread)


def _check_labels(batch: list[dict[str, Any]], first: dict[str, Any]) -> None:
    """All rows of a split speak of one label set, and each has a label out of it."""
    if any((row["labels"], row["rule"]) != (first["labels"], first["rule"]) for row in batch):
        raise DataFormatError("the rows of one split must share label set and rule")
    for row in batch:
        if row["label"] not in row["labels"]:
            raise DataFormatError(
                f"row {row.get('id')}: label {row['label']!r} is not in its label set. Build the "
                "data set again."
            )


def _decoded(
    batch: list[dict[str, Any]], unread: list[Unread]
) -> list[tuple[int, list[Image.Image]]]:
    """Label and pictures of each row that can be read; the others go to `unread`."""
    shown = []
    for row in batch:
        target = row["labels"].index(row["label"])
        try:
            shown.append((target, [_as_rgb(image) for image in row["images"]]))
        except Exception as error:  # noqa: BLE001 - one row becomes its entry, whatever it raises
            message = str(error) if isinstance(error, MediaError) else repr(error)
            unread.append(Unread(str(row.get("id")), target, message))
    return shown


def _as_rgb(image: Any) -> Any:
    """A picture in colour, decoded here if need be; one that is encoded already as it is."""
    if isinstance(image, dict) and "bytes" in image:
        return read_image(image["bytes"] or b"")
    return image.convert("RGB") if isinstance(image, Image.Image) else image


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
        if not missing and not all(row["images"] for row in batch):
            raise DataFormatError(
                "rows of whole clips hold no frames to score. Build with --clips frames."
            )
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
