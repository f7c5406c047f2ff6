"""Writes result records to a file: as they come, and under the final name only when all is done.

While a run goes on, its records stand in `FILE.partial`, one JSON object a line; `--resume` takes
them up again. The finished file is written beside it and renamed. Showing records on the terminal
is the command line's business.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emo_llama.errors import DataFormatError, UsageError

FILE_FORMATS = ("json", "jsonl", "csv", "parquet")
COLUMNS = ("path", "kind", "error", "faces")
ROWS_AT_ONCE = 1000

Record = dict[str, Any]


class RecordFile:
    """A file of result records that is being made.

    Args:
        path (`Path`):
            The final name.
        format (`str`):
            `"json"`, `"jsonl"`, `"csv"` or `"parquet"`.
        labels (`Sequence[str]`):
            The model's labels, the columns of the probabilities in Parquet.
        resume (`bool`, *optional*, defaults to `False`):
            Whether to keep what an earlier run wrote here, finished or not. Records with an error
            are not kept, so that those inputs are tried again.

    Attributes:
        done (`set[str]`):
            Paths whose records are kept.

    Raises:
        UsageError: The format is unknown, or the folder of the file does not exist.
    """

    def __init__(
        self, path: Path, format: str, labels: Sequence[str], resume: bool = False
    ) -> None:
        if format not in FILE_FORMATS:
            raise UsageError(f"Expected a format out of {', '.join(FILE_FORMATS)}, got {format!r}.")
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent}: no such folder. Make it first.")
        self.path = path
        self.format = format
        self.labels = tuple(labels)
        self.partial = path.with_name(path.name + ".partial")
        self.done: set[str] = set()
        kept = list(self._earlier_records()) if resume else []
        scratch = path.with_name(path.name + ".tmp")
        with scratch.open("w", encoding="utf-8") as stream:
            stream.writelines(_line(record) for record in kept)
        scratch.replace(self.partial)
        self._stream = self.partial.open("a", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Append one record; it is on disk when this returns.

        Args:
            record (`dict`):
                As `Result.to_dict` gives it.
        """
        self._stream.write(_line(record))
        self._stream.flush()

    def close(self) -> None:
        """Keep the records for a later run with `resume`."""
        self._stream.close()

    def finish(self) -> None:
        """Write the finished file under its final name."""
        self.close()
        scratch = self.path.with_name(self.path.name + ".tmp")
        try:
            _WRITERS[self.format](scratch, _read_lines(self.partial), self.labels)
            os.replace(scratch, self.path)
        finally:
            scratch.unlink(missing_ok=True)
        self.partial.unlink()

    def _earlier_records(self) -> Iterator[Record]:
        """Records of earlier runs without an error, each path once, the latest first."""
        sources = [_read_lines(self.partial)] if self.partial.is_file() else []
        if self.path.is_file():
            sources.append(read_records(self.path, self.format))
        for record in (record for source in sources for record in source):
            if record["error"] is None and record["path"] not in self.done:
                self.done.add(record["path"])
                yield record


def read_records(path: Path, format: str) -> Iterator[Record]:
    """Read a finished file of result records.

    Args:
        path (`Path`):
            The file.
        format (`str`):
            `"json"`, `"jsonl"`, `"csv"` or `"parquet"`.

    Yields:
        `dict`: The records.

    Raises:
        DataFormatError: The file is not what its format promises.
    """
    try:
        if format == "jsonl":
            yield from _read_lines(path)
        elif format == "json":
            yield from json.loads(path.read_text(encoding="utf-8"))
        elif format == "csv":
            yield from _read_csv(path)
        else:
            for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (ValueError, KeyError, csv.Error, pa.ArrowException) as error:
        raise DataFormatError(
            f"{path}: expected result records as {format}, found something else ({error}). Name "
            "another file, or leave out --resume to write this one anew."
        ) from error


def record_schema(labels: Sequence[str]) -> pa.Schema:
    """Give the Parquet schema of result records.

    Args:
        labels (`Sequence[str]`):
            The model's labels.

    Returns:
        `pyarrow.Schema`: With the columns of `COLUMNS`, nested as in JSON.
    """
    box = pa.list_(pa.float64())
    probabilities = pa.struct([(label, pa.float64()) for label in labels])
    frame = pa.struct(
        [
            ("time", pa.float64()),
            ("box", box),
            ("label", pa.string()),
            ("probabilities", probabilities),
        ]
    )
    face = pa.struct(
        [
            ("box", box),
            ("detection_score", pa.float64()),
            ("label", pa.string()),
            ("probabilities", probabilities),
            ("confidence", pa.float64()),
            ("abstained", pa.bool_()),
            ("text", pa.string()),
            ("track", pa.int64()),
            ("frames", pa.list_(frame)),
        ]
    )
    error = pa.struct([("type", pa.string()), ("message", pa.string())])
    columns = (pa.string(), pa.string(), error, pa.list_(face))
    return pa.schema(list(zip(COLUMNS, columns, strict=True)))


def _line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _read_lines(path: Path) -> Iterator[Record]:
    """Records of a JSON lines file; a last line that was cut off is left out."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n") and line.strip():
                yield json.loads(line)


def _read_csv(path: Path) -> Iterator[Record]:
    """Records of a CSV file; what is nested stands there as JSON."""
    csv.field_size_limit(2**31 - 1)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if tuple(rows.fieldnames or COLUMNS) != COLUMNS:
            raise ValueError(f"columns {', '.join(rows.fieldnames or ())}")
        for row in rows:
            error = json.loads(row["error"]) if row["error"] else None
            faces = json.loads(row["faces"])
            yield {"path": row["path"], "kind": row["kind"], "error": error, "faces": faces}


def _write_jsonl(path: Path, records: Iterable[Record], labels: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(_line(record) for record in records)


def _write_json(path: Path, records: Iterable[Record], labels: Sequence[str]) -> None:
    path.write_text(json.dumps(list(records), ensure_ascii=False, indent=2) + "\n", "utf-8")


def _write_csv(path: Path, records: Iterable[Record], labels: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        write_csv_rows(stream, records)


def write_csv_rows(stream: Any, records: Iterable[Record]) -> None:
    """Write records as CSV, what is nested as JSON.

    Args:
        stream (`TextIO`):
            Where to.
        records (`Iterable[dict]`):
            The records.
    """
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    for record in records:
        error, faces = record["error"], json.dumps(record["faces"], ensure_ascii=False)
        text = "" if error is None else json.dumps(error, ensure_ascii=False)
        writer.writerow({**record, "error": text, "faces": faces})


def _write_parquet(path: Path, records: Iterable[Record], labels: Sequence[str]) -> None:
    schema = record_schema(labels)
    rows = iter(records)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


_WRITERS: dict[str, Callable[[Path, Iterable[Record], Sequence[str]], None]] = {
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
