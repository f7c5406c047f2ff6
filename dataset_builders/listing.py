"""What a user's own folder holds: a table of paths and labels, or one sub-folder a class.

This module finds out which of the two it is and goes through it file by file, so that memory stays
flat. What the labels are and which rows are held out is decided in `folder`.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from emo_llama.dataset_builders.base import LeftOut
from emo_llama.dataset_builders.tables import MAX_COLUMNS
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import label_name
from emo_llama.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["ADVICE", "Listed", "listed_files"]

ADVICE = (
    "put the pictures or clips of each class into a sub-folder of its name, directly or below "
    "train/, validation/ and test/, or add labels.csv with the columns path and label (and, where "
    "known, split and subject)"
)
"""What a folder must look like."""

TABLES = ("labels.csv", "labels.jsonl", "metadata.csv", "metadata.jsonl")
PATH_COLUMNS = ("path", "file", "file_name")
DELIMITERS = ",;\t"

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4095
"""What a Linux file system allows; longer names can only be mistakes."""

Row = tuple[int, dict[str, str]]
"""A line of a table with its number, by the lower-case names of the columns."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture or clip.

    Args:
        file (`str`): Where it lies below the root, with `/`.
        label (`str`): As it stands in built data.
        split (`str`, *optional*, defaults to `""`): train, validation or test, where it is given.
        subject (`str`, *optional*, defaults to `""`): The person, where it is given.
        given (`str`, *optional*, defaults to `""`): The label as the user spells it.
    """

    file: str
    label: str
    split: str = ""
    subject: str = ""
    given: str = ""


def listed_files(root: Path) -> Iterator[Listed | LeftOut]:
    """Everything that the table or the class folders name, in a fixed order.

    Args:
        root (`Path`):
            The user's folder.

    Yields:
        `Listed` or `LeftOut`: A file with its label, or why a line or a file is none.

    Raises:
        InputNotFoundError: There is no such folder, or neither a table nor a class folder in it.
        DataFormatError: The table is damaged, or it cannot be told what the folders stand for.
    """
    if not root.is_dir():
        what = "found a file; unpack it first" if root.is_file() else "found nothing"
        raise InputNotFoundError(f"{root}: expected a folder, {what}. Then {ADVICE}.")
    table = _find_table(root)
    if table is not None:
        yield from _from_table(root, table)
        return
    for split, folder in _class_folders(root):
        for file in _files_below(root, folder):
            if Path(file).suffix.lower() not in MEDIA_SUFFIXES:
                yield LeftOut("other files", ascii(file)[1:-1])
            elif fault := _fault(file):
                yield LeftOut("unreadable files", ascii(file)[1:-1], fault)
            else:
                yield Listed(file, label_name(folder.name), split, given=folder.name)


def _find_table(root: Path) -> Path | None:
    """The table of one of the usual names, or the only one that there is."""
    files = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    tables = sorted(path for path in files if path.suffix.lower() in (".csv", ".jsonl"))
    named = [root / name for name in TABLES if root / name in tables]
    return named[0] if named else tables[0] if len(tables) == 1 else None


def _from_table(root: Path, table: Path) -> Iterator[Listed | LeftOut]:
    """The lines of a table."""
    empty = True
    read = _csv_rows if table.suffix.lower() == ".csv" else _jsonl_rows
    for number, row in read(table):
        empty = False
        column = next((name for name in PATH_COLUMNS if name in row), None)
        if column is None or "label" not in row:
            _damaged(table, number, f"columns path and label, found {', '.join(row)[:80]!r}")
        yield _listed(root, f"{table.name}, line {number}", column, row)
    if empty:
        _damaged(table, 1, "lines of files below it, found none")


def _listed(root: Path, line: str, column: str, row: Mapping[str, str]) -> Listed | LeftOut:
    """One line of a table."""
    file = PurePosixPath(row[column].replace("\\", "/"))  # tables written on Windows
    if file.is_absolute() and file.is_relative_to(root.absolute()):
        file = file.relative_to(root.absolute())
    name, split = file.as_posix(), row.get("split", "")
    if fault := _fault(name):
        return LeftOut("missing files", line, fault)
    if split and split.lower() not in SPLIT_NAMES:
        message = f"{line}: split {split[:20]!r}: expected train, validation or test"
        return LeftOut("unknown splits", name, message)
    if not row["label"]:
        return LeftOut("without a label", name)
    label, split = label_name(row["label"]), SPLIT_NAMES.get(split.lower(), "")
    return Listed(name, label, split, row.get("subject", ""), row["label"])


def _fault(file: str) -> str:
    """Why no file can have this name; empty where one can."""
    try:
        parts = [part.encode() for part in PurePosixPath(file).parts]
    except UnicodeEncodeError:
        return "the name is not UTF-8; rename the file"
    if not parts:
        return "no file is named"
    lengths = [len(part) for part in parts]
    if b"\0" in b"".join(parts) or max(lengths) > MAX_NAME_BYTES or sum(lengths) > MAX_PATH_BYTES:
        return f"no file can be named {file[:40]!r}"
    return ""


def _csv_rows(path: Path) -> Iterator[Row]:
    """Lines of a CSV file, whichever of the usual delimiters it has."""
    number = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel writes the mark
            head = file.readline(10_000)  # a file without an end of line is not read whole
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(DELIMITERS, key=head.count))
            if len(reader.fieldnames or ()) > MAX_COLUMNS:
                found = f"{len(reader.fieldnames or ()):,}"
                _damaged(path, 1, f"{MAX_COLUMNS:,} columns at most, found {found}")
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            for row in reader:
                number = reader.line_num
                if None in row or None in row.values():
                    columns = len(reader.fieldnames)
                    _damaged(path, number, f"{columns} columns as in the header, found others")
                yield number, {name: value.strip() for name, value in row.items()}
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        _damaged(path, number + 1, f"CSV text in UTF-8 ({error})")


def _jsonl_rows(path: Path) -> Iterator[Row]:
    """Lines of a JSONL file, each an object of texts and numbers."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _texts(path, number, line)
    except (UnicodeDecodeError, OSError) as error:
        _damaged(path, number + 1, f"JSON text in UTF-8 ({error})")


def _texts(path: Path, number: int, line: str) -> dict[str, str]:
    """The values of one JSON object, as texts."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        _damaged(path, number, f"a JSON object ({error})")
    if not isinstance(row, dict) or any(isinstance(value, (dict, list)) for value in row.values()):
        _damaged(path, number, f"a JSON object of texts, found {line.strip()[:80]!r}")
    texts = {name: "" if value is None else str(value).strip() for name, value in row.items()}
    # JSON can spell half a character, which no file name and no column can hold.
    return {k.lower(): text.encode(errors="replace").decode() for k, text in texts.items()}


def _damaged(path: Path, number: int, expected: str) -> NoReturn:
    raise DataFormatError(
        f"{path}, line {number}: expected {expected}. Correct the table, or take it out of the "
        f"folder and {ADVICE}."
    )


def _class_folders(root: Path) -> list[tuple[str, Path]]:
    """The folders of the classes, each with the split that the folder above it names."""
    folders = _folders(root)
    splits = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    others = [folder for folder in folders if folder not in splits and _holds_media(root, folder)]
    if splits and others:
        raise DataFormatError(
            f"{root}: expected folders of classes or folders of splits, found both: "
            f"{splits[0].name} and {others[0].name}. Either {ADVICE}."
        )
    found = [("", folder) for folder in others]
    for above in splits:
        below = [folder for folder in _folders(above) if _holds_media(root, folder)]
        found += [(SPLIT_NAMES[above.name.lower()], folder) for folder in below]
    if not found:
        raise InputNotFoundError(
            f"{root}: found no {' or '.join(TABLES)}, no other single CSV or JSONL file, and no "
            f"sub-folder with files of a known type ({' '.join(sorted(MEDIA_SUFFIXES))}). Please "
            f"{ADVICE}."
        )
    return found


def _folders(above: Path) -> list[Path]:
    return sorted(p for p in above.iterdir() if p.is_dir() and not p.name.startswith("."))


def _holds_media(root: Path, folder: Path) -> bool:
    files = _files_below(root, folder)
    return any(Path(file).suffix.lower() in MEDIA_SUFFIXES for file in files)


def _files_below(root: Path, folder: Path) -> Iterator[str]:
    """Every file at any depth, relative to the root; hidden ones are stepped over."""
    for above, folders, names in os.walk(folder, onerror=_cannot_be_listed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(above).relative_to(root).as_posix()
        yield from (f"{relative}/{name}" for name in sorted(names) if not name.startswith("."))


def _cannot_be_listed(error: OSError) -> NoReturn:
    raise InputNotFoundError(
        f"{error.filename}: this folder cannot be listed ({error.strerror}). "
        "Change its permissions."
    ) from error
