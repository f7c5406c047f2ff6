"""The four file formats of result records: how each is written and read back.

Every format gives back what went in. When a file gets its name, and what an earlier run left, is
decided in `emo_llama.writing`.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from emo_llama.csv_rows import read_csv_records, write_csv_records
from emo_llama.errors import DataFormatError

__all__ = [
    "FILE_FORMATS",
    "json_line",
    "read_records",
    "read_settings",
    "record_schema",
    "write_records",
]

FILE_FORMATS = ("json", "jsonl", "csv", "parquet")
COLUMNS = ("path", "kind", "error", "faces")
ROWS_AT_ONCE = 1000
SETTINGS_KEY = "emo_llama"
"""Under which a file that can hold more than records says how they were made."""

Record = dict[str, Any]

_DAMAGES = (ValueError, LookupError, RecursionError, OSError, csv.Error, pa.ArrowException)


def read_records(path: Path, format: str) -> Iterator[Record]:
    """Read a finished file of result records.

    Args:
        path (`Path`):
            The file.
        format (`str`):
            `"json"`, `"jsonl"`, `"csv"`, `"parquet"`, or `"partial"`: JSON lines after a line of
            settings.

    Yields:
        `dict`: The records.

    Raises:
        DataFormatError: The file is not what its format promises.
    """
    try:
        with path.open("rb") as stream:
            if format in ("jsonl", "partial"):
                yield from map(_as_record, _read_lines(stream))
            elif format == "json":
                yield from map(_as_record, _as_list(json.load(stream)))
            elif format == "parquet":
                for batch in pq.ParquetFile(stream).iter_batches(ROWS_AT_ONCE):
                    yield from map(_as_record, batch.to_pylist())
        if format == "csv":
            with path.open(newline="", encoding="utf-8") as text:
                yield from read_csv_records(text)
    except _DAMAGES as error:
        raise DataFormatError(
            f"{path}: expected result records as {format}, found something else ({error}). Name "
            "another file, or leave out --resume to write this one anew."
        ) from error


def read_settings(path: Path, format: str) -> dict[str, Any]:
    """Read how the records of a finished file were made.

    Args:
        path (`Path`):
            The file.
        format (`str`):
            Its format.

    Returns:
        `dict[str, Any]`: The settings; empty where the file does not say.
    """
    try:
        with path.open("rb") as stream:
            if format == "parquet":
                metadata = pq.read_schema(stream).metadata or {}
                found = json.loads(metadata.get(SETTINGS_KEY.encode(), b"{}"))
            else:
                found = next(_read_lines(stream, settings=True), {}) if format == "partial" else {}
    except _DAMAGES:
        return {}  # reading the records says what is wrong
    return found if isinstance(found, dict) else {}


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


def write_records(
    path: Path, format: str, records: Iterable[Record], settings: dict[str, Any]
) -> None:
    """Write a whole file of records.

    Args:
        path (`Path`):
            The file.
        format (`str`):
            `"json"`, `"jsonl"`, `"csv"` or `"parquet"`.
        records (`Iterable[dict]`):
            The records.
        settings (`dict[str, Any]`):
            How they were made; `labels` among them. Kept where the format has a place for it.
    """
    labels = settings["labels"]
    if format == "parquet":
        _write_parquet(path, records, settings)
        return
    with path.open("w", encoding="utf-8", newline="" if format == "csv" else "\n") as stream:
        if format == "jsonl":
            stream.writelines(map(json_line, records))
        elif format == "json":
            stream.write(json.dumps(list(records), ensure_ascii=False, indent=2) + "\n")
        else:
            write_csv_records(stream, records, labels)


def json_line(record: Record) -> str:
    """One record as a line of JSON.

    Args:
        record (`dict`):
            As `Result.to_dict` gives it.

    Returns:
        `str`: With its line end.
    """
    return json.dumps(record, ensure_ascii=False) + "\n"


def _write_parquet(path: Path, records: Iterable[Record], settings: dict[str, Any]) -> None:
    schema = record_schema(settings["labels"])
    schema = schema.with_metadata({SETTINGS_KEY: json.dumps(settings)})
    rows = iter(records)
    with path.open("wb") as stream, pq.ParquetWriter(stream, schema) as writer:
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _read_lines(stream: IO[bytes], settings: bool = False) -> Iterator[Any]:
    """JSON lines that hold records, or else settings; a last one that was cut off is left out."""
    for number, line in enumerate(stream, start=1):
        if not line.endswith(b"\n"):
            return
        try:
            value = json.loads(line.decode("utf-8"))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        found = value.get(SETTINGS_KEY) if number == 1 and isinstance(value, dict) else None
        if settings or found is None:
            yield found if settings else value


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a {type(value).__name__} instead of a list")
    return value


def _as_record(value: Any) -> Record:
    """Make sure that a value is a record, as far as resuming relies on it."""
    known = isinstance(value, dict) and set(COLUMNS) == set(value)
    if not (known and isinstance(value["path"], str) and isinstance(value["faces"], list)):
        raise ValueError(f"{str(value)[:80]!r} instead of a record")
    for face in value["faces"]:
        if not (isinstance(face, dict) and isinstance(face.get("probabilities"), dict)):
            raise ValueError(f"{str(face)[:80]!r} instead of a face")
    return value
