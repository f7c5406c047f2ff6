"""Reading the tables that data sets come in: a damaged file ends in a message that names it."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from emo_llama.errors import DataFormatError

__all__ = ["csv_columns"]


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
