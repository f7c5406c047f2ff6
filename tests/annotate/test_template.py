import pickle
import re

import numpy as np
import pytest

from emo_llama.annotate.geometry import MEASURES, TERCILES, FaceGeometry, level
from emo_llama.annotate.landmarks import from_file
from emo_llama.annotate.template import SIGNS, WORDS, TemplateAnnotator, clarity, evidence
from emo_llama.dataset_builders.ferplus import VOTES
from emo_llama.dataset_builders.schema import ExpressionRecord
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.labels import ADJECTIVES, FERPLUS
from emo_llama.prompts import FOLLOW_UPS


def record(label="happiness", row=0, **votes):
    counts = tuple(votes.get(name, 0) for name in VOTES)
    return ExpressionRecord("ferplus", row, (b"",), label, FERPLUS, counts, VOTES, "majority")


def geometry(turn=0.0, **levels):
    """Measures inside the thirds that `levels` names; the middle third for the others."""
    values = {}
    for name in MEASURES:
        low, high = TERCILES[name]
        values[name] = {-1: low - 0.01, 0: (low + high) / 2, 1: high + 0.01}[levels.get(name, 0)]
    return FaceGeometry(**values, turn=turn)


CLAUSES = {words: (name, third - 1) for name in WORDS for third, words in enumerate(WORDS[name])}


def test_signs_of_the_label_come_first_and_are_true():
    measured = geometry(mouth_opening=1, eye_opening=-1)
    assert evidence("happiness", measured) == [
        "the mouth is open",
        "the eyes are narrow",
        "the mouth corners are level",
    ]


def test_measures_that_do_not_fit_the_label_are_stated_as_they_are():
    assert evidence("happiness", geometry(mouth_corner_lift=-1))[0] == "the mouth corners are low"


def test_a_label_of_ones_own_is_shown_in_the_order_of_the_measures():
    measured = geometry(mouth_opening=1)
    assert evidence("bored", measured) == [
        "the mouth corners are level",
        "the mouth is of medium width",
        "the mouth is open",
    ]
    own = ExpressionRecord("folder", 0, (b"",), "bored", ("bored", "calm"))
    texts = [TemplateAnnotator(seed=seed)(own)[-1]["content"] for seed in range(20)]
    assert set(texts) == {
        "The person looks bored.",
        "The picture does not show the cause. It shows only the face: the person looks bored.",
    }
    rival = ExpressionRecord("folder", 0, (b"",), "bored", own.labels, (3, 2), own.labels)
    assert clarity(rival) == "It could also be seen as calm."


def test_a_turned_head_gives_no_other_measure_than_the_opening_of_the_mouth():
    measured = geometry(turn=0.8, brow_height=1, mouth_opening=-1)
    assert evidence("surprise", measured) == [
        "the head is turned to the side",
        "the mouth is closed",
    ]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ({"happiness": 8, "neutral": 2}, "The expression is clear."),
        ({"happiness": 6, "neutral": 3, "fear": 1}, "It could also be seen as neutral."),
        ({"happiness": 7, "fear": 1, "unknown": 2}, "The expression is not very clear."),
        ({"happiness": 6, "fear": 2, "anger": 2}, "It could also be seen as angry."),
    ],
)
def test_clarity_follows_the_votes(votes, expected):
    assert clarity(record(**votes)) == expected


def test_no_votes_no_word_about_clarity():
    single = ExpressionRecord("other", 0, (b"",), "fear", FERPLUS)
    assert clarity(single) == ""
    assert TemplateAnnotator()(single)[1]["content"] == "The person looks afraid."


@pytest.mark.parametrize("label", FERPLUS)
def test_every_clause_of_every_answer_is_measured(label, monkeypatch):
    generator = np.random.default_rng(0)
    for row in range(60):
        levels = dict(zip(MEASURES, generator.integers(-1, 2, len(MEASURES)), strict=True))
        measured = geometry(**levels)
        monkeypatch.setattr(FaceGeometry, "from_landmarks", lambda points, m=measured: m)
        turns = TemplateAnnotator(lambda item: np.zeros((68, 2)))(record(label, row, **{label: 9}))
        assert turns[1]["content"].startswith(f"The person looks {ADJECTIVES[label]}: the ")
        answers = " ".join(turn["content"] for turn in turns[1::2])
        stated = re.findall(
            r"the (?:mouth|eyes|brows)[a-z ]*? (?:is|are) .*?(?= and |\.)", answers, re.I
        )
        assert len(stated) >= 3
        for clause in stated:
            name, third = CLAUSES[clause.lower()]
            assert level(name, getattr(measured, name)) == third == levels[name]
        assert all(len(turn["content"].split()) < 60 for turn in turns)


def test_all_follow_ups_occur_and_the_cause_is_never_claimed(monkeypatch):
    monkeypatch.setattr(FaceGeometry, "from_landmarks", lambda points: geometry())
    annotator = TemplateAnnotator(lambda item: np.zeros((68, 2)))
    talks = [annotator(record(row=row, happiness=9)) for row in range(200)]
    assert {talk[2]["content"] for talk in talks if len(talk) > 2} == set(FOLLOW_UPS.values())
    assert {len(talk) for talk in talks} == {2, 4}
    why = next(talk[3] for talk in talks if talk[2:] and talk[2]["content"] == FOLLOW_UPS["why"])
    assert why["content"].startswith("The picture does not show the cause.")
    assert "200 from votes and the geometry" in annotator.summary()


def test_without_landmarks_only_the_votes_speak():
    talks = [TemplateAnnotator()(record(row=row, happiness=9)) for row in range(100)]
    text = " ".join(turn["content"] for talk in talks for turn in talk)
    assert not re.search("eyes|mouth|brows", text)


def test_the_same_record_gives_the_same_turns():
    first, second = TemplateAnnotator(), TemplateAnnotator()
    second(record(row=9, happiness=9))
    assert first(record(row=4, happiness=9)) == second(record(row=4, happiness=9))


def test_signs_are_measures():
    assert set(SIGNS) == set(FERPLUS)
    assert all(set(signs) <= set(MEASURES) for signs in SIGNS.values())


def test_landmarks_from_a_file(tmp_path):
    points = np.arange(2 * 68 * 2, dtype=np.float32).reshape(2, 68, 2)
    path = tmp_path / "landmarks.npz"
    np.savez(path, row_index=[7, 3], found=[True, False], landmarks=points)
    source = from_file(path)
    assert np.array_equal(source(record(row=7)), points[0])
    assert source(record(row=3)) is None
    assert source(record(row=5)) is None
    copied = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copied(record(row=7)), points[0])


def test_landmarks_in_any_order_and_compressed(tmp_path):
    points = np.arange(3 * 68 * 2, dtype=np.float64).reshape(3, 68, 2)
    path = tmp_path / "landmarks.npz"
    np.savez_compressed(path, row_index=[9, 2, 5], found=[1, 1, 1], landmarks=points)
    source = from_file(path)
    for row, place in ((5, 2), (9, 0), (2, 1), (9, 0)):
        assert np.array_equal(source(record(row=row)), points[place])


def test_bad_files_of_landmarks(tmp_path):
    path = tmp_path / "landmarks.npz"
    with pytest.raises(InputNotFoundError, match=r"landmarks.npz: expected a .npz file"):
        from_file(path)
    path.write_text("no archive")
    with pytest.raises(DataFormatError, match="landmarks.npz: expected"):
        from_file(path)
    np.savez(path, row_index=[1])
    with pytest.raises(DataFormatError, match="found"):
        from_file(path)
    np.savez(path, row_index=[1], found=[True], landmarks=np.zeros((1, 5, 2)))
    with pytest.raises(DataFormatError, match=r"\(1, 5, 2\)"):
        from_file(path)
