"""Paired comparison of two settings: worked by hand on small tables."""

import numpy as np
import pytest

from emo_llama.evaluation.ablation_report import as_markdown, draw_plot
from emo_llama.evaluation.comparison import compare, mean_over_runs
from emo_llama.evaluation.metrics.facial_expression.scores import classification_metrics

LABELS = np.array([0] * 6 + [1] * 4)


def test_only_rows_on_which_they_part_count():
    first, second = LABELS.copy(), LABELS.copy()
    first[:1] = 1  # the first loses a row,
    second[1:6] = 1  # the second five others
    found = compare(LABELS, [first], [second], 2)
    assert found["difference"] == pytest.approx(0.4)
    (run,) = found["runs"]
    assert (run["gained"], run["lost"]) == (5, 1)
    assert run["p"] == pytest.approx(2 * (6 + 1) / 2**6)  # exact binomial, both sides
    low, high = found["interval"]
    assert low < 0.4 < high


def test_equal_settings_do_not_differ():
    found = compare(LABELS, [LABELS, LABELS], [LABELS, LABELS], 2)
    assert (found["difference"], found["interval"]) == (0.0, [0.0, 0.0])
    assert found["runs"] == [{"gained": 0, "lost": 0, "p": 1.0}] * 2


def test_a_difference_of_many_rows_is_no_chance():
    labels = np.zeros(1000, int)
    worse = np.r_[np.ones(60, int), np.zeros(940, int)]
    found = compare(labels, [labels], [worse], 2)
    assert found["runs"][0]["p"] < 1e-15
    assert found["interval"][0] > 0.04


def test_means_and_intervals_over_runs():
    whole, half = LABELS, np.zeros(10, int)
    found = mean_over_runs(LABELS, [whole, half], 2)
    assert found["war"] == pytest.approx((1.0 + 0.6) / 2)
    assert found["uar"] == pytest.approx((1.0 + 0.5) / 2)
    assert [run["war"] for run in found["runs"]] == [1.0, 0.6]
    assert found["intervals"]["war"][0] < 0.8 < found["intervals"]["war"][1]


def test_the_interval_is_that_of_the_bootstrap_of_one_run():
    labels = np.zeros(2000, int)
    guess = (np.arange(2000) % 5 == 0).astype(int)  # 80% right
    low, high = mean_over_runs(labels, [guess], 2)["intervals"]["war"]
    reach = 1.96 * (0.8 * 0.2 / 2000) ** 0.5
    assert (low, high) == pytest.approx((0.8 - reach, 0.8 + reach), abs=0.002)


def test_one_run_has_the_numbers_of_the_metric():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 300)
    guess = np.where(generator.random(300) < 0.6, labels, generator.integers(0, 4, 300))
    found, metric = (
        mean_over_runs(labels, [guess], 4),
        classification_metrics(labels, guess, "abcd"),
    )
    assert (found["war"], found["uar"]) == (metric["war"], metric["uar"])
    assert found["intervals"]["uar"] == metric["intervals"]["uar"]


@pytest.fixture
def table():
    """Two cells of an ablation."""
    worse = np.r_[np.ones(2, int), LABELS[2:]]
    rows = [
        {"face_info_mining": fim, "attributes": "off", "tower": "generic"}
        | mean_over_runs(LABELS, [guess], 2)
        for fim, guess in (("both", LABELS), ("off", worse))
    ]
    rows[1]["against_reference"] = compare(LABELS, [LABELS], [worse], 2)
    reference = {"face_info_mining": "both", "attributes": "off", "tower": "generic"}
    return {
        "n": 10,
        "rule": "majority",
        "seeds": [0],
        "reference": reference,
        "cells": rows,
        "command": ["--config", "my.yaml"],
    }


def test_the_table_states_intervals_and_tests(table):
    page = as_markdown(table)
    assert "`emo-llama ablate --config my.yaml`" in page
    assert "n = 10 rows" in page and "rule majority" in page
    first, second = page.splitlines()[-2:]
    assert first.startswith("| both | off | generic | 100.0 [100.0, 100.0] |")
    assert second.startswith("| off | off | generic | 80.0 [")
    assert "(2 : 0, p 0.5)" in second


def test_the_plot_is_a_picture(table, tmp_path):
    from PIL import Image

    draw_plot(table, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 800
        assert len(set(picture.convert("L").get_flattened_data())) > 10
