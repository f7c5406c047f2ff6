import numpy as np

from emo_llama.evaluation.metrics.facial_expression.scores import classification_metrics
from emo_llama.evaluation.report import as_page, as_text, versions


def report():
    metrics = classification_metrics(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "<b>", "c"])
    return metrics | {
        "rule": "majority",
        "model": "some/model",
        "data": "built/ferplus",
        "split": "validation",
        "scorer": "label likelihood",
        "command": "emo-llama eval --data 'built/<x>'",
        "versions": versions(),
    }


def test_text_states_rule_coverage_and_interval_beside_the_numbers():
    text = as_text(report())
    assert "3 rows, rule majority, coverage 100.0%, scored by label likelihood" in text
    assert "WAR (accuracy)  66.67%  (95%: 20.77% to 93.85%)" in text
    assert "c                      -       0" in text


def test_page_is_self_contained_and_escaped():
    page = as_page(report())
    assert page.startswith("<!doctype html>")
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "http" not in page
    assert "transformers" in page
