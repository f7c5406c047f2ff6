"""Record files: the same content in every format, nothing half-written, resume."""

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from emo_llama.errors import DataFormatError, OutputError, UsageError
from emo_llama.record_formats import FILE_FORMATS, read_records
from emo_llama.writing import RecordFile, replace_file

LABELS = ("neutral", "happiness")


def record(path: str, faces: int = 1, error: str | None = None) -> dict[str, Any]:
    face = {
        "box": [1.0, 2.0, 3.5, 4.0],
        "detection_score": None,
        "label": "happiness",
        "probabilities": {"neutral": 0.25, "happiness": 0.75},
        "confidence": 0.75,
        "abstained": False,
        "text": 'She says "ja",\nand smiles.',
        "track": 0,
        "frames": [
            {
                "time": 0.5,
                "box": [1.0, 2.0, 3.5, 4.0],
                "label": "happiness",
                "probabilities": {"neutral": 0.25, "happiness": 0.75},
            }
        ],
    }
    problem = None if error is None else {"type": "MediaError", "message": error}
    return {"path": path, "kind": "image", "error": problem, "faces": [face] * faces}


RECORDS = [record("ä.jpg"), record("none.jpg", faces=0), record("bad.jpg", 0, "broken")]


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_every_format_gives_back_what_went_in(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"out.{format}"
    file = RecordFile(path, format, LABELS)
    for item in RECORDS:
        file.add(item)
    assert not path.exists()
    file.finish()
    assert list(read_records(path, format)) == RECORDS
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_resume_keeps_the_good_records(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    first = RecordFile(path, format, LABELS)
    for item in RECORDS:
        first.add(item)
    first.finish()
    second = RecordFile(path, format, LABELS, resume=True)
    assert second.done == {"ä.jpg", "none.jpg"}
    second.add(record("bad.jpg"))
    second.finish()
    assert list(read_records(path, format)) == [*RECORDS[:2], record("bad.jpg")]


def test_an_interrupted_run_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    first = RecordFile(path, "csv", LABELS)
    first.add(RECORDS[0])
    first.close()
    with first.partial.open("ab") as stream:
        stream.write('{"path": "cut of\u00e4'.encode()[:-1])  # inside a character
    second = RecordFile(path, "csv", LABELS, resume=True)
    assert second.done == {"ä.jpg"}
    second.add(RECORDS[1])
    second.finish()
    assert list(read_records(path, "csv")) == RECORDS[:2]


def test_without_resume_all_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps(RECORDS[0]) + "\n")
    file = RecordFile(path, "jsonl", LABELS)
    file.finish()
    assert path.read_text() == ""


def test_an_empty_parquet_file_has_all_columns(tmp_path: Path) -> None:
    RecordFile(tmp_path / "out.parquet", "parquet", LABELS).finish()
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["path", "kind", "error", "faces"]


def test_what_cannot_be_resumed_is_left_alone(tmp_path: Path) -> None:
    for format in FILE_FORMATS:
        path = tmp_path / f"out.{format}"
        path.write_text("these are no records\n")
        with pytest.raises(DataFormatError, match="--resume"):
            RecordFile(path, format, LABELS, resume=True)
        assert path.read_text() == "these are no records\n"


@pytest.mark.parametrize("line", ["junk", "12", "[]", '{"path": "a.jpg"}', "[" * 100_000, "\0"])
@pytest.mark.parametrize("format", ["jsonl", "partial"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str, format: str) -> None:
    path = tmp_path / "out.jsonl"
    file = RecordFile(path, "jsonl", LABELS)
    file.add(RECORDS[0])
    file.close()
    with file.partial.open("a") as stream:
        stream.write(line + "\n")
    if format == "jsonl":
        file.partial.rename(path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataFormatError, match="leave out --resume"):
        RecordFile(path, "jsonl", LABELS, resume=True)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("text", ["12", '"text"', "[12]", '[{"path": "a.jpg", "faces": 3}]', "{}"])
def test_json_that_holds_no_records(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(DataFormatError, match="leave out --resume"):
        RecordFile(path, "json", LABELS, resume=True)


@pytest.mark.parametrize("format", FILE_FORMATS)
@pytest.mark.parametrize("finished", [True, False])
def test_other_labels_are_refused(tmp_path: Path, format: str, finished: bool) -> None:
    path = tmp_path / "out"
    file = RecordFile(path, format, LABELS)
    file.add(RECORDS[0])
    file.finish() if finished else file.close()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UsageError, match='"happiness".* there, .*"joy".* now'):
        RecordFile(path, format, ("neutral", "joy"), resume=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("finished", [True, False])
def test_another_model_is_refused(tmp_path: Path, finished: bool) -> None:
    path = tmp_path / "out.parquet"
    file = RecordFile(path, "parquet", LABELS, settings={"model": "a", "text": True})
    file.add(RECORDS[0])
    file.finish() if finished else file.close()
    with pytest.raises(UsageError, match='model: "a" there, "b" now'):
        RecordFile(path, "parquet", LABELS, resume=True, settings={"model": "b", "text": True})
    same = RecordFile(path, "parquet", LABELS, resume=True, settings=file.settings)
    assert same.done == {"\u00e4.jpg"}


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_lost_records_are_noticed(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    file = RecordFile(path, format, LABELS)
    file.add(RECORDS[0])
    file.add(RECORDS[1])
    lines = file.partial.read_text().splitlines(keepends=True)
    file.partial.write_text("".join(lines[:-1]))
    with pytest.raises(OutputError, match="expected 2 records, found 1"):
        file.finish()
    assert path.read_text() == "older"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Every longer file is cut off there, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    file = RecordFile(path, "jsonl", LABELS)
    with largest_file(2000), pytest.raises(OutputError, match=r"could not be written .*--resume"):
        for number in range(100):
            file.add(record(f"{number}.jpg"))
    assert file.partial.stat().st_size == 2000
    file.close()
    again = RecordFile(path, "jsonl", LABELS, resume=True)
    assert again.done == {f"{number}.jpg" for number in range(number)}
    assert not path.exists()


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_a_disk_that_is_full_at_the_end(tmp_path: Path, format: str) -> None:
    path = tmp_path / "out"
    path.write_text("older")
    file = RecordFile(path, format, LABELS)
    for number in range(4):
        file.add(record(f"{number}.jpg"))
    with largest_file(300), pytest.raises(OutputError, match="could not be written"):
        file.finish()
    assert path.read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.partial"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    replace_file(path, b"older")
    with largest_file(300), pytest.raises(OutputError):
        replace_file(path, b"n" * 1000)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("\u00e4" * 125 + ".json")
    file = RecordFile(path, "json", LABELS)
    file.add(RECORDS[0])
    file.close()
    file = RecordFile(path, "json", LABELS, resume=True)
    file.finish()
    assert list(tmp_path.iterdir()) == [path]
    assert list(read_records(path, "json")) == RECORDS[:1]


def test_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'xml'"):
        RecordFile(tmp_path / "out.xml", "xml", LABELS)
    with pytest.raises(UsageError, match="no such folder"):
        RecordFile(tmp_path / "nix" / "out.csv", "csv", LABELS)
