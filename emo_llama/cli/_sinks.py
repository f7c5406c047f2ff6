"""Where the results of `emo-llama predict` go: the terminal, a file of text, a file of records."""

import csv
import io
import json
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from emo_llama.cli import _output
from emo_llama.escaping import printable

if TYPE_CHECKING:
    from emo_llama.records import Face, Result
    from emo_llama.writing import RecordFile


class Sink(Protocol):
    """Takes results one after the other.

    Attributes:
        done (`Set[str]`):
            Paths, as records hold them, whose results are there already.
    """

    done: Set[str]

    def add(self, result: "Result", drawn: Path | None) -> None:
        """Take one result, and the file of its annotated picture."""

    def finish(self) -> None:
        """All results are there."""


class TextFile:
    """Writes text for people to a file.

    Args:
        path (`Path`):
            The file.
    """

    done: Set[str] = frozenset()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: list[str] = []

    def add(self, result: "Result", drawn: Path | None) -> None:
        """Keep one result."""
        if result.error is None:
            self.parts.append(as_text(result, drawn) + "\n")

    def finish(self) -> None:
        """Write the file."""
        from emo_llama.writing import replace_file

        replace_file(self.path, "".join(self.parts).encode())
        _output.message(f"wrote {self.path}")


class RecordSink:
    """Writes results to a file of records.

    Args:
        file (`RecordFile`):
            The file.
    """

    def __init__(self, file: "RecordFile") -> None:
        self.file = file
        self.done: Set[str] = file.done

    def add(self, result: "Result", drawn: Path | None) -> None:
        """Write one result."""
        self.file.add(result.to_dict())

    def finish(self) -> None:
        """Give the file its final name."""
        self.file.finish()
        _output.message(f"wrote {self.file.path}")


class Terminal:
    """Shows results on stdout.

    Args:
        format (`str`):
            `"text"`, `"json"`, `"jsonl"` or `"csv"`.
        labels (`Sequence[str]`):
            The model's labels, columns of CSV.
    """

    done: Set[str] = frozenset()

    def __init__(self, format: str, labels: Sequence[str]) -> None:
        from emo_llama.csv_rows import header

        self.format = format
        self.labels = labels
        self.kept: list[dict[str, Any]] = []
        if format == "csv":
            _output.data(_csv_text([header(labels)]))

    def add(self, result: "Result", drawn: Path | None) -> None:
        """Show one result, or keep it where the format needs all."""
        if self.format == "text":
            if result.error is None:
                _output.data(as_text(result, drawn))
            return
        if drawn is not None:
            _output.message(f"picture: {drawn}")
        record = result.to_dict()
        if self.format == "json":
            self.kept.append(record)
        elif self.format == "jsonl":
            _output.data(json.dumps(record, ensure_ascii=_output.is_ascii()))
        else:
            from emo_llama.csv_rows import csv_lines

            _output.data(_csv_text(csv_lines(record, self.labels)))

    def finish(self) -> None:
        """Show what was kept."""
        if self.format == "json":
            _output.data(json.dumps(self.kept, ensure_ascii=_output.is_ascii(), indent=2))


def as_text(result: "Result", drawn: Path | None) -> str:
    """Write one result for people.

    Args:
        result (`Result`):
            The result.
        drawn (`Path`, *optional*):
            The file of its annotated picture.

    Returns:
        `str`: Lines without an end of the last.
    """
    lines = [str(result.path)]
    if not result.faces:
        lines.append("  no face found")
    for face in result.faces:
        lines += _face_lines(face)
    if drawn is not None:
        lines.append(f"  picture: {drawn}")
    return "\n".join(map(printable, lines))


def _face_lines(face: "Face") -> list[str]:
    """The expression, its probabilities and the sentence of one face."""
    place = " ".join(f"{value:.0f}" for value in face.box)
    who = "" if face.track is None else f"person {face.track}, {len(face.frames or [])} frames: "
    unsure = " (unsure)" if face.abstained else ""
    ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])
    lines = [
        f"  {who}{face.label}{unsure}  {face.confidence:.1%}  box {place}",
        "    " + "  ".join(f"{label} {p:.1%}" for label, p in ranked),
    ]
    return lines + ([f"    {face.text}"] if face.text else [])


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Rows with the line ends of a terminal."""
    lines = []
    for row in rows:
        stream = io.StringIO(newline="")
        csv.writer(stream).writerow(row)  # its own line end is what makes it quote one in a cell
        lines.append(stream.getvalue().removesuffix("\r\n"))
    return "\n".join(lines)
