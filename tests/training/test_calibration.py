"""The temperature and the bias of a tuned model."""

import numpy as np
import pytest

from emo_llama.labels import FERPLUS
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.testing import tiny_model, tiny_processor
from emo_llama.training import calibration
from emo_llama.training.calibration import calibrate, prior_bias
from emo_llama.training.data.instructions import InstructionData
from emo_llama.training.validation import score_validation


def test_rare_labels_gain_what_they_lack(ferplus_build):
    shown = InstructionData(ferplus_build[0]).category("train")["label"]
    shares = np.array([list(shown).count(label) for label in FERPLUS])
    assert len(set(shares)) > 1
    bias = np.array(prior_bias(shown, FERPLUS, 1.0))
    assert np.exp(bias) * shares == pytest.approx(np.full(8, np.exp(bias[0]) * shares[0]), rel=1e-3)
    assert bias.mean() == pytest.approx(0, abs=1e-3)
    assert np.array(prior_bias(shown, FERPLUS, 0.5)) == pytest.approx(bias / 2, abs=1e-4)
    assert prior_bias(shown, FERPLUS, 0.0) is None


def test_a_label_that_training_never_shows_has_a_finite_bias():
    assert np.isfinite(prior_bias(["happiness"] * 9, ("happiness", "boredom"), 1.0)).all()


def test_the_bias_stays_out_of_the_temperature(ferplus_build, monkeypatch):
    monkeypatch.setattr(calibration, "MIN_ROWS", 1)
    data, found = InstructionData(ferplus_build[0]), []
    for bias in (None, [3.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]):
        model = tiny_model()
        model.config.label_bias = bias
        recognizer = EmotionRecognizer(model, tiny_processor())
        fitted = calibrate(score_validation(recognizer, data), model.config)
        found.append(model.config.label_temperature)
        again = score_validation(EmotionRecognizer(model, tiny_processor()), data)
        np.testing.assert_allclose(fitted.probabilities, again.probabilities, rtol=1e-6)
    assert found[0] == found[1] != 1.0
    assert set(again.probabilities.argmax(1)) == {0}


def test_few_rows_leave_the_temperature_as_it_is(ferplus_build):
    model, data = tiny_model(), InstructionData(ferplus_build[0])
    scored = score_validation(EmotionRecognizer(model, tiny_processor()), data)
    assert len(scored.targets) < calibration.MIN_ROWS
    assert calibrate(scored, model.config) is scored
    assert model.config.label_temperature == 1.0
