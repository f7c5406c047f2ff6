"""Reading the tables that data sets come in: a damaged file ends in a message that names it."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emo_llama.errors import DataFormatError

__all__ = ["MAX_COLUMNS", "csv_columns", "parquet_columns"]

MAX_COLUMNS = 1000
"""Of a table; the official ones have 44 at most. More would be read for hours, row by row."""


def csv_columns(path: Path, columns: Sequence[str], advice: str) -> Iterator[list[str]]:
    """The named columns of a CSV file, row by row; header names match without blanks and case.

    Args:
        path (`Path`):
            The file; UTF-8, comma separated, with a header.
        columns (`Sequence[str]`):
            Names of the columns to give, in this order.
        advice (`str`):
            What the reader of an error message should do next.

    Yields:
        `list[str]`: The values of one row, without surrounding blanks.

    Raises:
        DataFormatError: The file is empty, no CSV text, lacks a column or ends within a row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            if len(header) > MAX_COLUMNS:
                raise DataFormatError(
                    f"{path}: expected a header of {MAX_COLUMNS:,} columns at most, found "
                    f"{len(header):,}. {advice}."
                )
            if any(name.lower() not in header for name in columns):
                found = f"its first line is {header[:12]}" if header else "the file is empty"
                raise DataFormatError(
                    f"{path}: expected a header with {', '.join(columns)}, but {found}. {advice}."
                )
            places = [header.index(name.lower()) for name in columns]
            for row in reader:
                if len(row) <= max(places):
                    raise DataFormatError(
                        f"{path}, line {reader.line_num}: expected {len(header)} columns as in the "
                        f"header, found {len(row)}; the file may be cut off. {advice}."
                    )
                yield [row[place].strip() for place in places]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataFormatError(f"{path}: expected a CSV text file ({error}). {advice}.") from error


def parquet_columns(
    shards: Sequence[Path], columns: Sequence[str]
) -> Iterator[tuple[Path, tuple[Any, ...]]]:
    """The named columns of Parquet shards, row by row, each with the shard that it is from.

    Args:
        shards (`Sequence[Path]`):
            The files. They are read in the order of the first value of the first column, and each
            is taken to be in order itself.
        columns (`Sequence[str]`):
            Names of the columns to give, in this order; none of them may hold a null.

    Yields:
        `tuple[Path, tuple]`: The shard, and the values of one row.

    Raises:
        DataFormatError: A shard is damaged, empty, lacks a column or holds a null.
    """
    path = shards[0]
    try:
        firsts = {}
        for path in shards:
            firsts[path] = _first_value(path, columns)
        for path in sorted(shards, key=firsts.__getitem__):
            for batch in pq.ParquetFile(path).iter_batches(batch_size=512, columns=list(columns)):
                values = [batch[name].to_pylist() for name in columns]
                for row in zip(*values, strict=True):
                    if None in row:
                        raise DataFormatError(
                            f"{path}: a row has nothing in {columns[row.index(None)]}. "
                            "Fetch or write the shard again."
                        )
                    yield path, row
    except (pa.ArrowException, OSError) as error:
        raise DataFormatError(
            f"{path}: expected a readable Parquet shard ({error}). Fetch or write it again."
        ) from error


def _first_value(path: Path, columns: Sequence[str]) -> Any:
    """The first value of the first column, once all columns are known to be there."""
    file = pq.ParquetFile(path)
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing or not file.metadata.num_rows:
        reason = f"no column {', '.join(missing)}" if missing else "no rows"
        raise DataFormatError(
            f"{path}: expected a Parquet shard with {', '.join(columns)}; it has {reason}."
        )
    return next(file.iter_batches(batch_size=1, columns=[columns[0]]))[columns[0]][0].as_py()
