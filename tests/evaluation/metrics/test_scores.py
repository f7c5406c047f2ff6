import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from emo_llama.evaluation.metrics.facial_expression.scores import (
    NO_ANSWER,
    classification_metrics,
    confusion_matrix,
    count,
    expression_scores,
    macro_f1,
    uar,
    war,
    wilson_interval,
)
from emo_llama.loading import EMBEDDED_MODEL

# Six rows of a, three of b, one of c; one row of a has no answer.
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 0, 0, 1, -1, 1, 1, 0, 1])
NAMES = ["a", "b", "c"]


def test_metrics_of_a_table_done_by_hand():
    confusion = confusion_matrix(LABELS, PREDICTIONS, 3)
    assert confusion.tolist() == [[4, 1, 0, 1], [1, 2, 0, 0], [0, 1, 0, 0]]
    counts = count(confusion)
    assert war(counts) == pytest.approx(6 / 10)
    assert uar(counts) == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)
    assert macro_f1(counts) == pytest.approx((8 / 11 + 4 / 7 + 0) / 3)


def test_report_of_the_same_table():
    report = classification_metrics(LABELS, PREDICTIONS, NAMES)
    assert report["n"] == 10
    assert report["coverage"] == pytest.approx(0.9)
    assert report["per_class"]["b"] == {"recall": pytest.approx(2 / 3), "n": 3}
    assert report["confusion"] == [[4, 1, 0], [1, 2, 0], [0, 1, 0]]
    for name, (low, high) in report["intervals"].items():
        assert 0 <= low < report[name] < high <= 1
    assert report == classification_metrics(LABELS, PREDICTIONS, NAMES)


def test_a_class_without_rows_has_no_recall_and_does_not_lower_uar():
    report = classification_metrics(np.array([0, 1]), np.array([0, 1]), NAMES)
    assert report["per_class"]["c"] == {"recall": None, "n": 0}
    assert report["uar"] == report["macro_f1"] == 1.0


def test_a_class_that_is_only_predicted_lowers_macro_f1():
    counts = count(confusion_matrix(np.array([0, 0]), np.array([0, 2]), 3))
    assert macro_f1(counts) == pytest.approx((2 / 3 + 0) / 2)
    assert uar(counts) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_wilson_against_published_numbers(hits, n, low, high):
    assert wilson_interval(hits, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("key", ["uar", "macro_f1"])
def test_bootstrap_over_outcomes_is_the_bootstrap_over_rows(key):
    generator = np.random.default_rng(1)
    labels = generator.choice(3, 400, p=[0.6, 0.3, 0.1])
    predictions = np.where(generator.random(400) < 0.7, labels, generator.integers(-1, 3, 400))
    rows = generator.integers(0, 400, (2000, 400))
    metric = {"uar": uar, "macro_f1": macro_f1}[key]
    drawn = [metric(count(confusion_matrix(labels[r], predictions[r], 3))) for r in rows]
    found = classification_metrics(labels, predictions, NAMES)["intervals"][key]
    assert found == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.01)


def test_the_report_of_the_embedded_model_comes_out_again():
    """To the last digit: documents and cards show these numbers."""
    report = json.loads((EMBEDDED_MODEL / "validation.json").read_text())
    labels = report["labels"]
    true = np.repeat(labels, [report["per_class"][label]["n"] for label in labels])
    said = np.concatenate([np.repeat(labels, counts) for counts in report["confusion"]])
    assert len(said) == len(true) == report["n"], "every row has an answer"
    found = expression_scores(said, true, labels)
    assert {key: report[key] for key in found} == found


def random_case(seed: int) -> tuple[list, list, list | None]:
    """Names or numbers, skewed, some unanswered, with and without a given label set."""
    generator = np.random.default_rng(seed)
    kinds, n = int(generator.integers(1, 12)), int(generator.integers(1, 300))
    labels = [f"label {i}" for i in range(kinds)] if seed % 2 else list(range(3, kinds + 3))
    true = generator.choice(kinds, n, p=generator.dirichlet(np.full(kinds, 0.5)))
    said = np.where(generator.random(n) < generator.random(), true, generator.integers(0, kinds, n))
    answered = generator.random(n) < (1.0 if seed % 3 else 0.9)
    predictions = [labels[i] if a else None for i, a in zip(said, answered, strict=True)]
    return predictions, [labels[i] for i in true], labels if seed % 5 else None


@pytest.mark.parametrize("cases", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_equal_to_scikit_learn(cases):
    for seed in range(cases):
        predictions, references, labels = random_case(seed)
        found = expression_scores(predictions, references, labels)
        names = found["labels"]
        place = {name: i for i, name in enumerate(names)} | {None: len(names)}
        true, said = ([place[label] for label in side] for side in (references, predictions))
        classes = sorted({*true, *said} - {len(names)})
        options = {"labels": classes, "zero_division": 0}
        recalls = recall_score(true, said, average=None, labels=sorted(set(true)))
        assert found["war"] == pytest.approx(accuracy_score(true, said), abs=1e-12)
        assert found["uar"] == pytest.approx(recalls.mean(), abs=1e-12)
        f1 = f1_score(true, said, average="macro", **options)
        assert found["macro_f1"] == pytest.approx(f1, abs=1e-12)
        assert [found["per_class"][names[i]]["recall"] for i in sorted(set(true))] == pytest.approx(
            recalls.tolist()
        )
        matrix = sklearn_confusion(true, said, labels=range(len(names) + 1))
        assert found["confusion"] == matrix[:-1, :-1].tolist()
        assert found["coverage"] == pytest.approx(1 - said.count(len(names)) / len(said))
        assert all(0 <= low <= high <= 1 for low, high in found["intervals"].values())


def test_numbers_and_their_names_score_alike():
    predictions = [None if i == NO_ANSWER else NAMES[i] for i in PREDICTIONS]
    names = expression_scores(predictions, [NAMES[i] for i in LABELS], NAMES)
    unanswered = [None if i == NO_ANSWER else i for i in PREDICTIONS]
    assert names == expression_scores(unanswered, LABELS, NAMES)
    assert names == classification_metrics(LABELS, PREDICTIONS, NAMES)


def test_thousands_of_labels_need_little_memory():
    rows = np.arange(1000)
    report = expression_scores(rows, rows)
    assert report["uar"] == 1.0 and len(report["confusion"]) == 1000


@pytest.mark.parametrize(
    ("predictions", "references", "labels", "message"),
    [
        ([], [], None, "at least one row"),
        ([1], [1, 2], None, "got 1 predictions and 2 references"),
        (["happy"], [1], None, "of one kind, got 'happy' as well as 1"),
        (["1"], [1], None, "of one kind"),
        ([1, 2], [1, None], None, "reference 1 is None: leave out rows"),
        ([0.5], [1], None, r"predictions\[0\] is 0.5, expected the name or the whole number"),
        ([float("nan")], [1], None, "None where there is no answer"),
        ([[1]], [1], None, "got the shape .1, 1.. Of scores take the label first"),
        ([[1], 2], [1, 1], None, r"predictions\[0\] is \[1\]"),
        ("happy", "happy", None, "a list of one label a row, got 'happy'"),
        (["joy"], ["joy"], NAMES, "reference 0 is 'joy', expected one of 'a', 'b', 'c'. Name it"),
        (["joy"], ["a"], NAMES, "prediction 0 is 'joy', .* map it to one of them"),
        ([3], [0], NAMES, "prediction 0 is 3, expected one of 0, 1, 2"),
        ([-1], [0], NAMES, "prediction 0 is -1"),
        (["a"], ["b"], [0, 1], "reference 0 is 'b', expected one of 0, 1"),
        (["a"], ["a"], [], "different names in `labels`, got none"),
        (["a"], ["a"], ["a", "a"], "different names in `labels`, got 'a', 'a'"),
        (["a"], ["a"], ["a", None], "different names in `labels`"),
        (["a"], ["a"], "abc", "expected labels as a list"),
    ],
)
def test_what_is_no_label_is_refused(predictions, references, labels, message):
    with pytest.raises(ValueError, match=message):
        expression_scores(predictions, references, labels)
