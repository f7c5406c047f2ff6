"""Records as rows: one a face or frame, one column a label, and back without loss."""

import csv
import io
from typing import Any

import pytest

from emo_llama.csv_rows import FIXED_COLUMNS, csv_lines, header, read_csv_records

LABELS = ("neutral", "=1+1")


def face(track: int | None = None, **fields: Any) -> dict[str, Any]:
    shares = {"neutral": 0.1, "=1+1": 0.9}
    frame = {"time": 0.0, "box": [1.0, 2.0, 3.5, 4.0], "label": "=1+1", "probabilities": shares}
    values = {
        "box": [-1.5, 2.0, 3.5, 4.0],
        "detection_score": None,
        "label": "=1+1",
        "probabilities": shares,
        "confidence": 0.9,
        "abstained": False,
        "text": None,
        "track": track,
        "frames": None if track is None else [frame, frame | {"time": 0.25}],
    }
    return values | fields


def record(path: str, *faces: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"path": path, "kind": "image", "error": None, "faces": list(faces)} | fields


RECORDS = [
    record("two.jpg", face(), face(abstained=True, detection_score=0.1 + 0.2)),
    record("none.jpg"),
    record('bad\n\r,".jpg', error={"type": "MediaError", "message": "-1 is no size"}),
    record("clip.mp4", face(0, text='"ja",\n@her'), face(1), kind="video"),
    record("none again.jpg"),
    record("one.jpg", face(text="+1")),
    *(record(f"{sign}cmd|' /C calc'!A0.jpg") for sign in "=+-@\t\r'\uff1d"),
    record("''=twice quoted.jpg"),
]


def table(records: list[dict[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(header(LABELS))
    for item in records:
        writer.writerows(csv_lines(item, LABELS))
    return stream.getvalue()


def test_every_record_comes_back() -> None:
    assert list(read_csv_records(io.StringIO(table(RECORDS), newline=""))) == RECORDS


def test_one_row_a_face_or_frame_and_one_column_a_label() -> None:
    rows = list(csv.reader(io.StringIO(table(RECORDS[:4]), newline="")))
    names, *rows = rows
    assert names == [*FIXED_COLUMNS, "neutral", "'=1+1"]
    assert {len(row) for row in rows} == {len(names)}
    found = [dict(zip(names, row, strict=True)) for row in rows]
    assert [row["path"] for row in found[:3]] == ["two.jpg", "two.jpg", "none.jpg"]
    assert [row["face"] for row in found] == ["0", "1", "", "", "0", "0", "0", "1", "1", "1"]
    assert [row["time"] for row in found[4:7]] == ["", "0.0", "0.25"]
    assert found[1]["abstained"] == "true" and found[1]["detection_score"] == repr(0.1 + 0.2)
    assert found[0]["x0"] == "-1.5" and found[0]["'=1+1"] == "0.9"
    assert found[2]["label"] == "" and found[3]["error_type"] == "MediaError"


def test_no_text_starts_a_formula() -> None:
    for row in csv.reader(io.StringIO(table(RECORDS), newline="")):
        for cell in row:
            assert cell[:1] not in tuple("=+@\t\r\n\uff1d") + ("-",) or float(cell)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "path,kind,error,faces\n",
        table([]) + "a.jpg,image\n",
        table(RECORDS[:1]).replace(",0,", ",7,", 1),
        table(RECORDS[:1]).replace("0.9\r\n", "happy\r\n", 1),
    ],
)
def test_other_rows_are_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        list(read_csv_records(io.StringIO(text, newline="")))
