"""The temperature and the bias of a tuned model."""

import numpy as np
import pytest

from emo_llama.evaluation.split import read_split, score_split
from emo_llama.labels import FERPLUS
from emo_llama.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_model, tiny_processor
from emo_llama.training import calibration
from emo_llama.training.calibration import calibrate, prior_bias


def test_rare_labels_gain_what_they_lack(ferplus_build):
    rows = [row["label"] for row in read_split(ferplus_build[0], "train")]
    shares = np.array([rows.count(label) for label in FERPLUS])
    assert len(set(shares)) > 1
    bias = np.array(prior_bias(ferplus_build[0], FERPLUS, 1.0))
    assert np.exp(bias) * shares == pytest.approx(np.full(8, np.exp(bias[0]) * shares[0]), rel=1e-3)
    assert bias.mean() == pytest.approx(0, abs=1e-3)
    assert np.array(prior_bias(ferplus_build[0], FERPLUS, 0.5)) == pytest.approx(bias / 2, abs=1e-4)
    assert prior_bias(ferplus_build[0], FERPLUS, 0.0) is None


def test_a_label_that_training_never_shows_has_a_finite_bias(ferplus_build):
    assert np.isfinite(prior_bias(ferplus_build[0], ("happiness", "boredom"), 1.0)).all()


def test_the_bias_stays_out_of_the_temperature(ferplus_build, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MIN_ROWS", 1)
    found = []
    for bias in (None, [3.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]):
        folder = tmp_path / str(bias is None)
        model = tiny_model()
        model.config.label_bias = bias
        model.save_pretrained(folder)
        tiny_processor().save_pretrained(folder)
        found.append(calibrate(folder, ferplus_build[0]))
        recognizer = EmotionRecognizer.from_pretrained(folder, detector="none")
        assert recognizer.model.config.label_temperature == found[-1] != 1.0
    assert found[0] == found[1]
    scored = score_split(recognizer, read_split(ferplus_build[0], "validation"))
    assert set(scored.probabilities.argmax(1)) == {0}
