"""Reports beside published numbers: what is read, in which order it stands, and what it shows."""

import json

import pytest

from emo_llama.cli import main
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.evaluation.leaderboard import (
    PUBLISHED,
    TITLES,
    as_markdown,
    as_text,
    read_report,
    rows_of,
)
from emo_llama.evaluation.metrics.facial_expression.scores import expression_scores


@pytest.fixture
def report(tmp_path):
    """Writes what `emo-llama eval` prints, with changes."""

    def write(name="mine.json", **changes):
        scores = expression_scores([0] * 70 + [1] * 30, [0] * 100, ["happy", "sad"])
        facts = {"model": "me/mine", "data": "built/ferplus", "split": "test", "rule": "majority"}
        path = tmp_path / name
        path.write_text(json.dumps(scores | facts | changes))
        return path

    return write


def test_a_report_stands_among_published_numbers_by_its_accuracy(report):
    rows = rows_of([read_report(report())])
    names = [row.model for row in rows]
    assert {row.dataset for row in rows} == {"ferplus"}
    assert names.index("VGG13") < names.index("me/mine") < names.index("GPT-4V")
    text = as_text(rows)
    assert "me/mine  70.0 [60.4, 78.1]  70.0 [" in text
    assert "91.85" in text and "Published numbers were not run again" in text


def test_every_published_number_has_source_split_and_rule():
    assert {row.dataset for row in PUBLISHED} == set(TITLES)
    for row in PUBLISHED:
        assert 0 < row.war < 1 and (row.uar is None or 0 < row.uar < row.war)
        assert "arXiv " in row.source and row.split and row.rule and row.how


@pytest.mark.parametrize(
    ("changes", "dataset"),
    [
        ({"dataset": "rafdb", "data": "built/any"}, "rafdb"),
        ({"data": "built/FERPlus-crops"}, "ferplus"),
        ({"data": "built/RAF-DB"}, "rafdb"),
        ({"dataset": None, "data": "my-pictures"}, "my-pictures"),
    ],
)
def test_the_data_are_known_by_name(report, changes, dataset):
    assert read_report(report(**changes)).dataset == dataset


def test_data_without_published_numbers_have_a_table_of_their_own(report):
    rows = rows_of([read_report(report(data="my-pictures"))])
    assert [row.model for row in rows] == ["me/mine"]
    assert as_markdown(rows).startswith("## my-pictures\n\n| model | WAR |")


def test_a_bar_in_a_name_does_not_break_the_table(report):
    table = as_markdown(rows_of([read_report(report(model="a|b"))]))
    (line,) = (line for line in table.splitlines() if "a/b" in line)
    assert line.count("|") == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "expected a report in JSON"), ("[]", "it lacks"), ('{"war": 1}', "lacks intervals")],
)
def test_what_is_no_report_is_refused(tmp_path, text, message):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataFormatError, match=message):
        read_report(path)
    with pytest.raises(InputNotFoundError, match="emo-llama eval --data DIR"):
        read_report(tmp_path / "none.json")


def test_the_verb_shows_the_embedded_model_and_whatever_is_named(report, capsys):
    assert main(["leaderboard", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (ours,) = (row for row in rows if row["n"])
    assert ours["dataset"] == "ferplus" and ours["rule"] == "majority" and ours["intervals"]["war"]
    assert main(["leaderboard", str(report()), "--data", "dfew", "--data", "ferplus"]) == 0
    out = capsys.readouterr().out
    assert out.index("DFEW") < out.index("FERPlus") and "me/mine" in out
    assert main(["leaderboard", "none.json"]) == 1
    assert main(["leaderboard", "--format", "markdown"]) == 0
    assert "| EMO-LLaMA | 65.9 | 60.2 |" in capsys.readouterr().out
