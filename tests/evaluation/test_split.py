import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo_llama.cli import main
from emo_llama.errors import DataFormatError, InputNotFoundError, UsageError
from emo_llama.evaluation.metrics.facial_expression.scores import expression_scores
from emo_llama.evaluation.split import evaluate_split, read_split
from emo_llama.files import only_run
from emo_llama.labels import FERPLUS
from emo_llama.testing import tiny_model, tiny_processor


class Fixed:
    """Always gives its first label; remembers what it was shown."""

    def __init__(self, labels):
        self.labels = tuple(labels)
        self.shown = []

    def score_labels(self, images, batch_size=32):
        self.shown.append([image.mode for image in images])
        return np.tile(np.linspace(1, 0, len(self.labels)), (len(images), 1))


@pytest.fixture
def built(ferplus_build):
    return ferplus_build[0]


@pytest.fixture
def copied(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "copied"))


def test_labels_are_matched_by_name_not_by_place(built):
    recognizer = Fixed(["joy", "surprised", *(set(FERPLUS) - {"happiness", "surprise"}), "anxiety"])
    report = evaluate_split(recognizer, read_split(built, "test"), batch_size=3)
    assert report["labels"] == list(FERPLUS)
    assert report["rule"] == "majority"
    assert report["per_class"]["happiness"] == {"recall": 1.0, "n": 1}
    assert (report["war"], report["coverage"], report["n"]) == (1 / 8, 1.0, 8)
    assert recognizer.shown == [["RGB"] * 3, ["RGB"] * 3, ["RGB"] * 2]


def test_a_model_of_another_label_set(built):
    with pytest.raises(UsageError, match="the data has the labels contempt, and the model knows"):
        evaluate_split(Fixed(FERPLUS[:-1]), read_split(built, "test"))


def test_bad_folders(built, copied, tmp_path):
    with pytest.raises(UsageError, match="no split 'dev'; there are train, validation, test"):
        read_split(built, "dev")
    with pytest.raises(InputNotFoundError, match="nowhere: expected a folder that"):
        read_split(tmp_path / "nowhere", "test")
    for file in (copied / "category").iterdir():
        file.unlink()
    with pytest.raises(DataFormatError, match="copied: expected the configuration category"):
        read_split(copied, "test")


def test_rows_that_cannot_be_evaluated(copied):
    with pytest.raises(DataFormatError, match="expected rows in the split"):
        evaluate_split(Fixed(FERPLUS), [])
    with pytest.raises(DataFormatError, match="the rows lack images, labels, rule"):
        evaluate_split(Fixed(FERPLUS), [{"label": "fear"}])
    rows = list(read_split(copied, "test"))
    with pytest.raises(DataFormatError, match="must share label set and rule"):
        evaluate_split(Fixed(FERPLUS), [*rows, rows[0] | {"rule": "argmax"}])
    path = copied / "category" / "ferplus-test-00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataFormatError, match="cannot be read to its end"):
        evaluate_split(Fixed(FERPLUS), read_split(copied, "test"))


@pytest.fixture
def saved_model(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def of_the_metric(report):
    """What the metric gives for the rows that a report's confusion matrix counts."""
    said, true = [], []
    for label, counts in zip(report["labels"], report["confusion"], strict=True):
        true += [label] * report["per_class"][label]["n"]
        answers = zip(report["labels"], counts, strict=True)
        said += [name for name, count in answers for _ in range(count)]
        said += [None] * (len(true) - len(said))
    return expression_scores(said, true, report["labels"])


def test_eval_prints_the_report_of_the_interface(built, saved_model, tmp_path, capsys):
    arguments = ["--data", str(built), "--split", "test", "--model", str(saved_model)]
    page = tmp_path / "report.html"
    status = main(["eval", *arguments, "--format", "json", "--device", "cpu", "--page", str(page)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    report = json.loads(captured.out)
    assert {
        *("war", "uar", "macro_f1", "n", "coverage", "rule", "per_class", "confusion", "intervals"),
        *("model", "data", "split", "scorer", "command", "versions"),
    } <= set(report)
    assert (report["n"], report["split"], report["model"]) == (8, "test", str(saved_model))
    assert report["dataset"] == "ferplus"
    assert report.items() >= of_the_metric(report).items()
    assert "Confusion" in page.read_text()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("none/report.html", "none is no folder. Make it first"),
        ("", "--page expects a file"),
        ("built/category/ferplus-test-00000.parquet", "this is an input"),
    ],
)
def test_where_no_page_can_be_is_told_before_the_work(page, message, copied, monkeypatch, capsys):
    monkeypatch.chdir(copied.parent)
    copied.rename("built")
    words = ["--data", "built", "--model", "none", "--page", str(copied.parent / page)]
    assert main(["eval", *words]) == 2
    assert message in capsys.readouterr().err


def test_two_runs_do_not_write_one_page(built, tmp_path, capsys):
    with only_run(tmp_path / "page.html"):
        words = ["--data", str(built), "--model", "none", "--page", str(tmp_path / "page.html")]
        assert main(["eval", *words]) == 2
    assert "another run is writing here" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_a_named_miss(copied, saved_model, capsys):
    path = copied / "category" / "ferplus-test-00000.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[2]["images"][0]["bytes"] = b"\x89PNG, and nothing more"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    words = ["--data", str(copied), "--split", "test", "--model", str(saved_model)]
    assert main(["eval", *words, "--format", "json"]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["n"], report["coverage"]) == (8, 7 / 8)
    assert report.items() >= of_the_metric(report).items()
    assert report["per_class"][rows[2]["label"]] == {"recall": 0.0, "n": 1}
    assert [row["id"] for row in report["unread"]] == [rows[2]["id"]]
    assert f"{rows[2]['id']}: not scored" in captured.err
    assert "eval:" in captured.err and "/8" in captured.err  # the bar


def test_a_label_out_of_its_set_is_a_message(built):
    rows = [row | {"label": "joyous"} for row in read_split(built, "test")]
    with pytest.raises(DataFormatError, match="label 'joyous' is not in its label set"):
        evaluate_split(Fixed(FERPLUS), rows)


def test_eval_says_what_is_missing(built, tmp_path, capsys):
    assert main(["eval", "--data", str(tmp_path / "nowhere")]) == 1
    assert "emo-llama data build" in capsys.readouterr().err
    assert main(["eval", "--data", str(built), "--model", str(tmp_path / "empty")]) == 2
    assert "empty" in capsys.readouterr().err
