import numpy as np
import pytest

from emo_llama.evaluation.metrics import (
    classification_metrics,
    confusion_matrix,
    macro_f1,
    uar,
    war,
    wilson_interval,
)

# Six rows of a, three of b, one of c; one row of a has no answer.
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 0, 0, 1, -1, 1, 1, 0, 1])


def test_metrics_of_a_table_done_by_hand():
    confusion = confusion_matrix(LABELS, PREDICTIONS, 3)
    assert confusion.tolist() == [[4, 1, 0, 1], [1, 2, 0, 0], [0, 1, 0, 0]]
    assert war(confusion) == pytest.approx(6 / 10)
    assert uar(confusion) == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)
    assert macro_f1(confusion) == pytest.approx((8 / 11 + 4 / 7 + 0) / 3)


def test_report_of_the_same_table():
    report = classification_metrics(LABELS, PREDICTIONS, ["a", "b", "c"])
    assert report["n"] == 10
    assert report["coverage"] == pytest.approx(0.9)
    assert report["per_class"]["b"] == {"recall": pytest.approx(2 / 3), "n": 3}
    assert report["confusion"] == [[4, 1, 0], [1, 2, 0], [0, 1, 0]]
    for name, (low, high) in report["intervals"].items():
        assert 0 <= low < report[name] < high <= 1
    assert report == classification_metrics(LABELS, PREDICTIONS, ["a", "b", "c"])


def test_a_class_without_rows_has_no_recall_and_does_not_lower_uar():
    report = classification_metrics(np.array([0, 1]), np.array([0, 1]), ["a", "b", "c"])
    assert report["per_class"]["c"] == {"recall": None, "n": 0}
    assert report["uar"] == report["macro_f1"] == 1.0


def test_a_class_that_is_only_predicted_lowers_macro_f1():
    confusion = confusion_matrix(np.array([0, 0]), np.array([0, 2]), 3)
    assert macro_f1(confusion) == pytest.approx((2 / 3 + 0) / 2)
    assert uar(confusion) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_wilson_against_published_numbers(hits, n, low, high):
    assert wilson_interval(hits, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_bootstrap_over_cells_is_the_bootstrap_over_rows():
    generator = np.random.default_rng(1)
    labels = generator.choice(3, 400, p=[0.6, 0.3, 0.1])
    predictions = np.where(generator.random(400) < 0.7, labels, generator.integers(0, 3, 400))
    rows = generator.integers(0, 400, (2000, 400))
    drawn = [uar(confusion_matrix(labels[row], predictions[row], 3)) for row in rows]
    expected = np.quantile(drawn, (0.025, 0.975))
    found = classification_metrics(labels, predictions, ["a", "b", "c"])["intervals"]["uar"]
    assert found == pytest.approx(expected, abs=0.01)
