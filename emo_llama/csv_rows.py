"""Result records as rows of CSV, for spreadsheets, and back without loss.

One row a face, one more for each frame that a person of a video is seen in, one for an input
without faces or with an error; one column a label. The nested form stays in JSON and Parquet.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

__all__ = ["FIXED_COLUMNS", "csv_lines", "header", "read_csv_records", "write_csv_records"]

Record = dict[str, Any]

FIXED_COLUMNS = (
    *("path", "kind", "error_type", "error_message", "face", "track", "time"),
    *("x0", "y0", "x1", "y1", "detection_score", "label", "confidence", "abstained", "text"),
)
"""Before the columns of the labels. `time` is empty in the row that sums up a person of a video."""

# A spreadsheet takes such a cell for a formula. The quote that stops it is one more where the text
# has some already, so that it can be taken away again.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def header(labels: Sequence[str]) -> list[str]:
    """The first row.

    Args:
        labels (`Sequence[str]`):
            The model's labels.

    Returns:
        `list[str]`: The names of the columns.
    """
    return [*FIXED_COLUMNS, *map(_guarded, labels)]


def csv_lines(record: Record, labels: Sequence[str]) -> Iterator[list[str]]:
    """The rows of one record.

    Args:
        record (`dict`):
            As `Result.to_dict` gives it.
        labels (`Sequence[str]`):
            The model's labels.

    Yields:
        `list[str]`: The cells of one row.
    """
    error = record["error"] or {"type": None, "message": None}
    start = [record["path"], record["kind"], error["type"], error["message"]]
    for number, face in enumerate(record["faces"]):
        rest = [face["detection_score"], face["label"], face["confidence"], face["abstained"]]
        about = [number, face["track"], None, *face["box"], *rest, face["text"]]
        yield [_cell(value) for value in (*start, *about, *face["probabilities"].values())]
        for frame in face["frames"] or ():
            shares = frame["probabilities"]
            rest = [None, frame["label"], shares[frame["label"]], None, None]
            about = [number, face["track"], frame["time"], *frame["box"], *rest]
            yield [_cell(value) for value in (*start, *about, *shares.values())]
    if not record["faces"]:
        empty = len(FIXED_COLUMNS) + len(labels) - len(start)
        yield [_cell(value) for value in start] + [""] * empty


def write_csv_records(stream: TextIO, records: Iterable[Record], labels: Sequence[str]) -> None:
    """Write records with the first row before them.

    Args:
        stream (`TextIO`):
            A text stream that leaves line ends as they are, as a file opened with `newline=""`.
        records (`Iterable[dict]`):
            As `Result.to_dict` gives them.
        labels (`Sequence[str]`):
            The model's labels.
    """
    writer = csv.writer(stream)
    writer.writerow(header(labels))
    for record in records:
        writer.writerows(csv_lines(record, labels))


def read_csv_records(stream: TextIO) -> Iterator[Record]:
    """Read records from their rows.

    Args:
        stream (`TextIO`):
            A file that was opened with `newline=""`.

    Yields:
        `dict`: The records.

    Raises:
        ValueError: The columns or rows are others.
    """
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(stream, strict=True)
    names = next(rows, [])
    count = len(FIXED_COLUMNS)
    if tuple(names[:count]) != FIXED_COLUMNS:
        raise ValueError(f"columns {', '.join(names)[:200]}")
    labels = [_unguarded(name) for name in names[count:]]
    record: Record | None = None
    for cells in rows:
        row = dict(zip(FIXED_COLUMNS, cells[:count], strict=True))
        if row["face"] in ("", "0") and not row["time"]:
            if record is not None:
                yield record
            record = _record(row)
        if row["face"]:
            _add_face(record, row, dict(zip(labels, map(float, cells[count:]), strict=True)))
    if record is not None:
        yield record


def _record(row: dict[str, str]) -> Record:
    """A record without its faces."""
    error = {"type": _unguarded(row["error_type"]), "message": _unguarded(row["error_message"])}
    path, kind = _unguarded(row["path"]), row["kind"]
    return {"path": path, "kind": kind, "error": error if error["type"] else None, "faces": []}


def _add_face(record: Record | None, row: dict[str, str], shares: dict[str, float]) -> None:
    """Add the face of a row, or the frame to the face of the rows before it."""
    number = int(row["face"])
    if record is None or number != len(record["faces"]) - bool(row["time"]):
        raise ValueError(f"face {number} of {row['path']} in the wrong place")
    box = [float(row[name]) for name in ("x0", "y0", "x1", "y1")]
    label = _unguarded(row["label"])
    if row["time"]:
        frame = {"time": float(row["time"]), "box": box, "label": label, "probabilities": shares}
        record["faces"][-1]["frames"].append(frame)
        return
    record["faces"].append(
        {
            "box": box,
            "detection_score": float(row["detection_score"]) if row["detection_score"] else None,
            "label": label,
            "probabilities": shares,
            "confidence": float(row["confidence"]),
            "abstained": {"true": True, "false": False}[row["abstained"]],
            "text": _unguarded(row["text"]) or None,
            "track": int(row["track"]) if row["track"] else None,
            "frames": [] if row["track"] else None,
        }
    )


def _cell(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))  # NumPy's own would name their type
    return _guarded(str(value))


def _guarded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
