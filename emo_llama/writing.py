"""Writes result records to a file: as they come, and under the final name only when all is done.

While a run goes on, its records stand in `FILE.partial`, after a line that says how they are made;
`--resume` takes them up again. The finished file is written beside it and renamed. Keeping a second
run off is `emo_llama.files.only_run`'s business, the formats are `emo_llama.record_formats`'.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emo_llama.errors import OutputError, UsageError
from emo_llama.files import atomic_path
from emo_llama.record_formats import (
    FILE_FORMATS,
    SETTINGS_KEY,
    Record,
    json_line,
    read_records,
    read_settings,
    write_records,
)

__all__ = ["RecordFile", "replace_file"]

MAX_BYTES = 240
"""Of a name that gets an ending; file systems take 255."""


class RecordFile:
    """A file of result records that is being made.

    Args:
        path (`Path`):
            The final name.
        format (`str`):
            `"json"`, `"jsonl"`, `"csv"` or `"parquet"`.
        labels (`Sequence[str]`):
            The model's labels, the columns of the probabilities in Parquet and CSV.
        resume (`bool`, *optional*, defaults to `False`):
            Whether to keep what an earlier run wrote here, finished or not. Records with an error
            are not kept, so that those inputs are tried again.
        settings (`dict[str, Any]`, *optional*):
            What else decides the records, as the model. Kept in the partial file and in Parquet.

    Attributes:
        done (`set[str]`):
            Paths whose records are kept.

    Raises:
        UsageError: The format is unknown, the folder of the file does not exist, or what an earlier
            run wrote was made with other settings.
        DataFormatError: What an earlier run wrote cannot be read.
        OutputError: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        labels: Sequence[str],
        resume: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        if format not in FILE_FORMATS:
            raise UsageError(f"Expected a format out of {', '.join(FILE_FORMATS)}, got {format!r}.")
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent}: no such folder. Make it first.")
        self.path = path
        self.format = format
        self.settings = {"labels": list(labels), **(settings or {})}
        self.partial = _beside(path, ".partial")
        self.done: set[str] = set()
        kept = list(self._earlier_records()) if resume else []
        self._count = len(kept)
        lines = [json_line({SETTINGS_KEY: self.settings}), *map(json_line, kept)]
        replace_file(self.partial, "".join(lines).encode())
        # Without a buffer: what could not be written must not be tried again at the end.
        self._stream = self.partial.open("ab", buffering=0)

    def add(self, record: Record) -> None:
        """Append one record; it is in the file when this returns.

        Args:
            record (`dict`):
                As `Result.to_dict` gives it.

        Raises:
            OutputError: It could not be written. What stands there already is kept.
        """
        try:
            _write_all(self._stream, json_line(record).encode())
        except OSError as error:
            raise OutputError(_cannot_write(self.partial, error)) from error
        self._count += 1

    def close(self) -> None:
        """Keep the records for a later run with `resume`."""
        self._stream.close()

    def finish(self) -> None:
        """Write the finished file under its final name.

        Raises:
            OutputError: It could not be written, or the records are not those that were added. They
                are kept for a later run with `resume`.
        """
        self.close()
        try:
            with atomic_path(self.path) as partial:
                write_records(partial, self.format, self._counted(), self.settings)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(_cannot_write(self.path, error)) from error
        self.partial.unlink()

    def _counted(self) -> Iterator[Record]:
        """The records of the partial file, all of them."""
        count = 0
        for record in read_records(self.partial, "partial"):
            count += 1
            yield record
        if count != self._count:
            raise OutputError(
                f"{self.partial}: expected {self._count:,} records, found {count:,}; something "
                "else writes here. Run it again with --resume, or name another --out."
            )

    def _earlier_records(self) -> Iterator[Record]:
        """Records of earlier runs without an error, each path once, the latest first."""
        for path, format in ((self.partial, "partial"), (self.path, self.format)):
            if not path.is_file():
                continue
            self._compare(path, read_settings(path, format))
            for record in read_records(path, format):
                for face in record["faces"]:
                    self._compare(path, {"labels": list(face["probabilities"])})
                if record["error"] is None and record["path"] not in self.done:
                    self.done.add(record["path"])
                    yield record

    def _compare(self, path: Path, earlier: dict[str, Any]) -> None:
        """Refuse to go on with results that were made otherwise."""
        other = [name for name in earlier if earlier[name] != self.settings.get(name)]
        if other:
            differences = "; ".join(
                f"{name}: {_shown(earlier[name])} there, {_shown(self.settings.get(name))} now"
                for name in other
            )
            raise UsageError(
                f"{path}: holds results that were made otherwise ({differences}). Give the same "
                "options, name another --out, or leave out --resume to write this one anew."
            )


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that has its name only when it is whole.

    Args:
        path (`Path`):
            The file; an older one is replaced.
        data (`bytes`):
            What it shall hold.

    Raises:
        OutputError: It could not be written. An older file is left as it was.
    """
    try:
        with atomic_path(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error


def _write_all(stream: io.RawIOBase, data: bytes) -> None:
    """Write bytes without a buffer, which may take several steps."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) or 0 :]


def _beside(path: Path, ending: str) -> Path:
    """A sibling of a file, whose name stays short enough."""
    name = os.fsencode(path.name)
    if len(name) + len(ending) > MAX_BYTES:
        return path.with_name(hashlib.sha256(name).hexdigest() + ending)
    return path.with_name(path.name + ending)


def _cannot_write(path: Path, error: OSError) -> str:
    return (
        f"{path}: could not be written ({error.strerror or error}). Make room for it, or see that "
        "it may be written; then run the same command again, with --resume where it has --out."
    )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]
