"""The same model with one part switched off: no weight of its own, and the whole one untouched."""

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: the extra `space`")

import numpy as np
from PIL import Image

from emo_llama import EmotionRecognizer
from emo_llama.dataset_builders.synthetic import draw_face
from emo_llama.space.variants import (
    has_face_info_mining,
    uncalibrated,
    whole_picture,
    without_face_info_mining,
)
from emo_llama.testing import tiny_config, tiny_model, tiny_processor
from emo_llama.training.parts import switch_parts

FACE = draw_face("happiness", size=64)


def scores(recognizer: EmotionRecognizer, image: Image.Image = FACE) -> np.ndarray:
    return recognizer.score_labels([image])


def test_without_the_mining_it_is_the_model_of_an_ablation(recognizer: EmotionRecognizer) -> None:
    before = scores(recognizer)
    variant = without_face_info_mining(recognizer)
    model, processor = tiny_model(), tiny_processor()
    switch_parts(model, processor, face_info_mining="off")
    assert np.array_equal(scores(variant), scores(EmotionRecognizer(model, processor)))
    assert np.array_equal(scores(recognizer), before), "the whole model is as it was"
    assert recognizer.processor.num_tokens_per_frame == variant.processor.num_tokens_per_frame + 2


@pytest.mark.parametrize("make", [without_face_info_mining, uncalibrated, whole_picture])
def test_a_variant_has_no_weights_of_its_own(make, recognizer: EmotionRecognizer) -> None:
    whole = {tensor.data_ptr() for tensor in recognizer.model.parameters()}
    parts = {tensor.data_ptr() for tensor in make(recognizer).model.parameters()}
    assert parts <= whole


def test_without_calibration_the_likelihoods_are_as_they_are() -> None:
    config = tiny_config(label_temperature=3.0, label_bias=[0.5, *[0.0] * 7])
    calibrated = EmotionRecognizer(tiny_model(config), tiny_processor(config))
    bare = EmotionRecognizer(tiny_model(), tiny_processor())
    assert not np.allclose(scores(calibrated), scores(bare))
    assert np.array_equal(scores(uncalibrated(calibrated)), scores(bare))
    assert calibrated.model.config.label_temperature == 3.0


def test_a_model_without_face_network_has_no_mining() -> None:
    config = tiny_config(face_config=None)
    recognizer = EmotionRecognizer(tiny_model(config), tiny_processor(config))
    assert not has_face_info_mining(recognizer)
