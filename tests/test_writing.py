"""Record files: the same content in every format, nothing half-written, resume."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from emo_llama.errors import DataFormatError, UsageError
from emo_llama.writing import FILE_FORMATS, RecordFile, read_records

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
    with first.partial.open("a") as stream:
        stream.write('{"path": "cut of')
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


def test_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'xml'"):
        RecordFile(tmp_path / "out.xml", "xml", LABELS)
    with pytest.raises(UsageError, match="no such folder"):
        RecordFile(tmp_path / "nix" / "out.csv", "csv", LABELS)
