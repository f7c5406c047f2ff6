"""Evaluation reports beside published numbers, and what has to be known to compare them.

Published numbers stand here with their source and in which way they were won; none was run again.
Rows are comparable only within one split and one label rule, which is why both stand in every row.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.evaluation.report import share_text

__all__ = ["PUBLISHED", "Row", "as_markdown", "as_text", "read_report", "rows_of"]

HEAD = ("model", "WAR", "UAR", "n", "split", "label rule", "how", "source")
NEEDED = {"war", "uar", "n", "rule", "intervals"}
TITLES = {
    "ferplus": "FERPlus",
    "rafdb": "RAF-DB",
    "affectnet": "AffectNet, 8 classes",
    "dfew": "DFEW",
    "ferv39k": "FERV39k",
    "mafw": "MAFW",
}
SPLITS = {
    "ferplus": ("test", "not stated"),
    "rafdb": ("test", "basic"),
    "affectnet": ("validation", "8 classes"),
    "dfew": ("official folds", "single-labelled"),
    "ferv39k": ("test", "single-labelled"),
    "mafw": ("official folds", "single-labelled"),
}
"""Of published numbers: the split that papers report on, and the rule of its labels."""


NOTE = """\
Per cent; 95% intervals where a report has them. Compare only what shares split and label rule.
Published numbers were not run again: crops, prompts and the reading of answers move them by many
points."""


class Row(NamedTuple):
    """One number to compare.

    Args:
        model (`str`): Which model.
        dataset (`str`): Which data, as `emo-llama data build` names them.
        war (`float`): Accuracy, a fraction.
        uar (`float`, *optional*): Mean recall; `None` where the source has none.
        how (`str`): In which way it was won, for example `"zero-shot"`.
        source (`str`): Where it stands.
        split (`str`): Of the data.
        rule (`str`): Which labels the rows have.
        n (`int`, *optional*): How many rows.
        intervals (`dict`, *optional*): 95%, of `war` and `uar`.
    """

    model: str
    dataset: str
    war: float
    uar: float | None
    how: str
    source: str
    split: str
    rule: str
    n: int | None = None
    intervals: Mapping[str, list[float]] | None = None


GPT_4V = "arXiv 2312.04293, computed anew from its published answers"
FACE_LLAVA = "arXiv 2504.07198"
S4D = "arXiv 2409.06154"
HUMAN_OMNI = "arXiv 2501.15111"
_NUMBERS: tuple[tuple[str, str, float, float | None, str, str], ...] = (
    ("QCS", "ferplus", 91.85, None, "trained on it", "arXiv 2411.01988"),
    ("VGG13", "ferplus", 84.99, None, "trained on it, from scratch", "arXiv 1608.01041"),
    ("GPT-4V", "ferplus", 64.25, None, "zero-shot", GPT_4V),
    ("MPA-FER", "rafdb", 93.7, None, "trained on it", "arXiv 2506.21017"),
    ("Face-LLaVA", "rafdb", 92.1, None, "trained on it", FACE_LLAVA),
    ("Facial-R1", "rafdb", 92.1, None, "trained on it", "arXiv 2511.10254"),
    ("Face-LLaVA", "rafdb", 78.0, None, "zero-shot", FACE_LLAVA),
    ("GPT-4V", "rafdb", 75.81, None, "zero-shot", GPT_4V),
    ("GPT-4V", "affectnet", 42.77, None, "zero-shot", GPT_4V),
    ("HumanOmni 7B", "dfew", 82.5, 74.9, "trained on it, with sound", HUMAN_OMNI),
    ("Emotion-LLaMA", "dfew", 77.1, 64.2, "trained on it, with sound", "arXiv 2406.11161"),
    ("S4D", "dfew", 76.68, None, "trained on it", S4D),
    ("Face-LLaVA", "dfew", 74.5, 62.5, "trained on it", FACE_LLAVA),
    ("EMO-LLaMA", "dfew", 65.9, 60.2, "trained on it", f"as quoted in {FACE_LLAVA}"),
    ("Face-LLaVA", "dfew", 56.4, 46.9, "zero-shot", FACE_LLAVA),
    ("GPT-4V", "dfew", 43.7, 36.8, "zero-shot", GPT_4V),
    ("S4D", "ferv39k", 53.65, None, "trained on it", S4D),
    ("GPT-4V", "ferv39k", 34.3, 24.9, "zero-shot", GPT_4V),
    ("HumanOmni 7B", "mafw", 68.4, 52.9, "trained on it, with sound", HUMAN_OMNI),
    ("S4D", "mafw", 58.44, None, "trained on it", S4D),
)
# the FERPlus paper scores the majority of the votes; the others do not say which rule
_RULES = {"VGG13": "majority"}

PUBLISHED = tuple(
    Row(
        model,
        dataset,
        war / 100,
        None if uar is None else uar / 100,
        how,
        source,
        SPLITS[dataset][0],
        _RULES.get(model, SPLITS[dataset][1]),
    )
    for model, dataset, war, uar, how, source in _NUMBERS
)
"""Numbers out of papers, none of them run here."""


def read_report(path: Path) -> Row:
    """Read what `emo-llama eval --format json` printed, or the `validation.json` of a model.

    Args:
        path (`Path`):
            The file.

    Returns:
        [`Row`]: What is compared.

    Raises:
        InputNotFoundError: There is no such file.
        DataFormatError: It is no report.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputNotFoundError(
            f"{path}: no such file. Write one: emo-llama eval --data DIR --format json > {path}"
        ) from error
    except ValueError as error:
        raise DataFormatError(f"{path}: expected a report in JSON ({error}).") from error
    missing = NEEDED - report.keys() if isinstance(report, dict) else NEEDED
    if missing:
        raise DataFormatError(
            f"{path}: expected what `emo-llama eval --format json` prints; it lacks "
            f"{', '.join(sorted(missing))}."
        )
    return _row(report, path)


def _row(report: Mapping[str, Any], path: Path) -> Row:
    folder = path.resolve().parent.name
    data = str(report.get("dataset") or Path(str(report.get("data", "unknown"))).name)
    return Row(
        model=str(report.get("model", folder)),
        dataset=_dataset(data),
        war=report["war"],
        uar=report["uar"],
        how=report.get("scorer", "label likelihood"),
        source=path.name,
        split=report.get("split", "validation"),
        rule=report["rule"],
        n=report["n"],
        intervals=report["intervals"],
    )


def _dataset(name: str) -> str:
    """The known name of a data set that a folder's name begins with, else that name."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return next((known for known in TITLES if plain.startswith(known)), name)


def rows_of(reports: Iterable[Row], datasets: Iterable[str] = ()) -> list[Row]:
    """Reports and published numbers, by data set, the most accurate first.

    Args:
        reports (`Iterable[Row]`):
            As [`read_report`] gives them.
        datasets (`Iterable[str]`, *optional*):
            Which data to show; by default those of the reports, and all where there are none.

    Returns:
        `list[Row]`: In order.
    """
    own = list(reports)
    wanted = list(datasets) or list(dict.fromkeys(row.dataset for row in own)) or list(TITLES)
    every = [row for row in (*own, *PUBLISHED) if row.dataset in wanted]
    return sorted(every, key=lambda row: (wanted.index(row.dataset), -row.war))


def as_text(rows: list[Row]) -> str:
    """The tables for a terminal.

    Args:
        rows (`list[Row]`): In order, as [`rows_of`] gives them.

    Returns:
        `str`: A table for each data set.
    """
    lines = []
    for title, table in _tables(rows):
        widths = [max(map(len, column)) for column in zip(HEAD, *table, strict=True)]
        lines += [title]
        for cells in (HEAD, *table):
            padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
            lines.append(f"  {'  '.join(padded)}".rstrip())
        lines.append("")
    return "\n".join([*lines, NOTE])


def as_markdown(rows: list[Row]) -> str:
    """The tables as Markdown.

    Args:
        rows (`list[Row]`): In order, as [`rows_of`] gives them.

    Returns:
        `str`: A heading and a table for each data set.
    """
    lines = []
    for title, table in _tables(rows):
        lines += [f"## {title}", "", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table]
        lines.append("")
    return "\n".join([*lines, NOTE])


def _tables(rows: list[Row]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Title and cells of each data set."""
    for dataset in dict.fromkeys(row.dataset for row in rows):
        table = [_cells(row) for row in rows if row.dataset == dataset]
        yield TITLES.get(dataset, dataset), table


def _cells(row: Row) -> tuple[str, ...]:
    scores = (_score(row, key) for key in ("war", "uar"))
    n = "-" if row.n is None else f"{row.n:,}"
    return (row.model, *scores, n, row.split, row.rule, row.how, row.source)


def _score(row: Row, key: str) -> str:
    """Per cent; a published number with the digits that were published."""
    value = getattr(row, key)
    if row.intervals is not None:
        return share_text(value, row.intervals[key])
    return "-" if value is None else f"{100 * value:.4g}"
