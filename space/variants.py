"""The same model with one part of it switched off, beside the whole one.

A variant shares the weights of its origin, so that it costs no memory: only the settings that
differ are its own.
"""

import copy

from emo_llama import EmotionRecognizer
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.training.parts import switch_parts

__all__ = ["has_face_info_mining", "uncalibrated", "whole_picture", "without_face_info_mining"]


def has_face_info_mining(recognizer: EmotionRecognizer) -> bool:
    """Whether a model has Face Info Mining, and a tower to see with where that is off.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.

    Returns:
        `bool`: Whether [`without_face_info_mining`] makes sense.
    """
    parts = recognizer.model.model
    return parts.face_info_mining is not None and parts.vision_tower is not None


def without_face_info_mining(recognizer: EmotionRecognizer) -> EmotionRecognizer:
    """The model without its Face Info Mining: it sees the picture by its vision tower alone.

    Nothing was trained for that, so that the difference shows what the model takes from its face
    tokens, not what a model that never had any would see.

    Args:
        recognizer ([`EmotionRecognizer`]):
            A model that [`has_face_info_mining`].

    Returns:
        [`EmotionRecognizer`]: With the same weights.
    """
    model, processor = _twin(recognizer), copy.copy(recognizer.processor)
    switch_parts(model, processor, face_info_mining="off")
    return EmotionRecognizer(model, processor, recognizer.detector)


def uncalibrated(recognizer: EmotionRecognizer) -> EmotionRecognizer:
    """The model without the temperature and bias that calibrate its probabilities.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.

    Returns:
        [`EmotionRecognizer`]: With the same weights.
    """
    model = _twin(recognizer)
    model.config.label_temperature, model.config.label_bias = 1.0, None
    return EmotionRecognizer(model, recognizer.processor, recognizer.detector)


def whole_picture(recognizer: EmotionRecognizer) -> EmotionRecognizer:
    """The model with the whole picture as the face.

    Args:
        recognizer ([`EmotionRecognizer`]):
            The model.

    Returns:
        [`EmotionRecognizer`]: Without a detector.
    """
    return EmotionRecognizer(recognizer.model, recognizer.processor)


def _twin(recognizer: EmotionRecognizer) -> EmoLlamaForConditionalGeneration:
    """A copy of the model that has the same weights, not equal ones."""
    model = recognizer.model
    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, weights)
