import pickle

import pytest

from emo_llama.annotate.answers import Answer, AnswerFile
from emo_llama.errors import UsageError

A, B = "0a" * 32, "0b" * 32
FIRST = Answer(A, "drawn-00000", "written", turns=(("How?", "Grüße."),))


def write(file, *answers):
    with file.writing() as keep:
        for answer in answers:
            keep(answer)


def same(one, other):
    return (one.key, one.status, list(map(tuple, one.turns))) == (
        other.key, other.status, list(map(tuple, other.turns))
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "answers.jsonl"


def test_answers_come_back(path):
    file = AnswerFile(path)
    assert A not in file and file.get(A) is None and list(file.unusable()) == []
    write(file, FIRST)
    for again in (file, AnswerFile(path), pickle.loads(pickle.dumps(file))):
        assert A in again and B not in again
        assert same(again.get(A), FIRST)


def test_the_latest_answer_counts(path):
    file = AnswerFile(path)
    refused = Answer(A, "drawn-00000", "refused", reason="no")
    write(file, refused, Answer(B, "drawn-00001", "malformed", reason="torn", reply="{"))
    assert [answer.key for answer in file.unusable()] == [A, B]
    write(file, FIRST)
    assert file.get(A).status == "written"
    assert [answer.reason for answer in AnswerFile(path).unusable()] == ["torn"]


@pytest.mark.parametrize("kept", range(1, 90, 8))
def test_a_line_that_was_torn_is_passed_over(path, kept, caplog):
    second = Answer(B, "drawn-00001", "written", turns=(("How?", "Well."),))
    write(AnswerFile(path), FIRST, second)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-kept])
    file = AnswerFile(path)
    whole = kept == 1  # only the end of the line is missing
    assert (B in file) is whole and A in file
    assert ("1 torn lines" in caplog.text) is not whole
    write(file, second)
    assert same(file.get(B), second) and same(AnswerFile(path).get(B), second)
    assert same(AnswerFile(path).get(A), FIRST)


def test_one_run_writes_at_a_time(path):
    with AnswerFile(path).writing(), pytest.raises(UsageError, match="another run is writing it"):
        write(AnswerFile(path), FIRST)
    write(AnswerFile(path), FIRST)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "answers.jsonl"):
        with pytest.raises(UsageError, match="answers cannot be kept here"):
            write(AnswerFile(path), FIRST)
