"""`emo-llama predict` as a user calls it, with a tiny model of random weights."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from emo_llama.cli import main
from emo_llama.testing import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of one name and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("a/face.png", "b/face.png"):
        (folder / name).parent.mkdir()
        pixels = random.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "text.jpg").write_text("this is text")
    return folder


def run(model: Path, *words: object) -> int:
    options = ["--model", model, "--faces", "none", "--device", "cpu"]
    return main(["predict", *map(str, [*options, *words])])


def test_text_is_for_people(model: Path, photos: Path, capsys) -> None:
    assert run(model, photos / "a" / "face.png") == 0
    path, label, probabilities, sentence = capsys.readouterr().out.splitlines()
    assert path.endswith("face.png")
    assert "box 0 0 80 60" in label
    assert probabilities.count("%") == 8
    assert sentence.strip().startswith("The person looks")


def test_a_folder_with_a_bad_file(model: Path, photos: Path, capsys) -> None:
    assert run(model, photos, "--format", "jsonl", "--no-text") == 1
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(record["path"]).name for record in records] == ["face.png"] * 2 + ["text.jpg"]
    assert [record["error"] is None for record in records] == [True, True, False]
    assert "text.jpg: not an image" in captured.err
    assert "1 of 3 inputs" in captured.err


def test_json_and_csv_on_stdout_hold_the_same(model: Path, photos: Path, capsys) -> None:
    run(model, photos, "--format", "json", "--no-text")
    records = json.loads(capsys.readouterr().out)
    run(model, photos, "--format", "csv", "--no-text")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [json.loads(row["faces"]) for row in rows] == [record["faces"] for record in records]


def test_parquet_with_resume(model: Path, photos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.parquet"
    assert run(model, photos, "--out", out, "--no-text") == 1
    assert len(pq.read_table(out)) == 3
    capsys.readouterr()
    assert run(model, photos, "--out", out, "--no-text", "--resume") == 1
    assert "2 of 3 inputs were done before" in capsys.readouterr().err
    assert len(pq.read_table(out)) == 3


def test_overlays_do_not_overwrite_each_other(model: Path, photos: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    run(model, photos, "--overlay", drawn, "--no-text", "--out", tmp_path / "out.txt")
    names = sorted(path.name for path in drawn.iterdir())
    assert names == ["face-2.overlay.jpg", "face.overlay.jpg"]
    assert Image.open(drawn / names[0]).size == (480, 360)
    assert "picture:" in (tmp_path / "out.txt").read_text()


def test_a_question_is_asked(model: Path, photos: Path, capsys) -> None:
    run(model, photos / "a" / "face.png", "--question", "Why?", "--format", "json")
    (record,) = json.loads(capsys.readouterr().out)
    assert not record["faces"][0]["text"].startswith("The person looks")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "parquet"], "--out"),
        (["--resume"], "--out"),
        (["--workers", "0"], "--workers"),
        (["--abstain-below", "2"], "--abstain-below"),
    ],
)
def test_wrong_usage_exits_with_2(
    model: Path, photos: Path, capsys, words: list[str], message: str
) -> None:
    assert run(model, photos, *words) == 2
    assert message in capsys.readouterr().err


def test_unknown_options_and_models(photos: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(photos), "--colour", "red"])
    assert stopped.value.code == 2
    assert main(["predict", str(photos), "--model", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_a_missing_file_is_named_and_the_rest_is_done(model: Path, photos: Path, capsys) -> None:
    assert run(model, photos / "nix.jpg", photos / "a", "--no-text") == 1
    captured = capsys.readouterr()
    assert "nix.jpg: no such file" in captured.err
    assert "face.png" in captured.out


@pytest.mark.slow
def test_workers_give_the_same_records(model: Path, photos: Path, tmp_path: Path) -> None:
    run(model, photos, "--out", tmp_path / "one.jsonl", "--no-text")
    command = [sys.executable, "-m", "emo_llama.cli", "predict", photos, "--model", model]
    options = ["--faces", "none", "--device", "cpu", "--no-text", "--workers", "2"]
    out = tmp_path / "two.jsonl"
    done = subprocess.run([*map(str, command), *options, "--out", str(out)], capture_output=True)
    assert done.returncode == 1, done.stderr
    one, two = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("one.jsonl", "two.jsonl")
    )
    assert [r["path"] for r in one] == [r["path"] for r in two]
    for a, b in zip(one, two, strict=True):
        for x, y in zip(a["faces"], b["faces"], strict=True):
            assert x["probabilities"] == pytest.approx(y["probabilities"], abs=1e-5)
