"""Apparent age, gender and race from the face network, as the sentence before a question.

As in the paper they are a text prompt, whose wording here is ours. They are guesses from pictures:
off unless somebody asks for them.
"""

from collections.abc import Sequence

import torch
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.errors import UsageError
from emo_llama.modeling import (
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
    FaceXFormerModel,
)
from emo_llama.prompts import attribute_sentence

__all__ = [
    "AGES",
    "GENDERS",
    "RACES",
    "check_attributes",
    "predict_sentences",
    "sentences_of_tokens",
]

AGES = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70 or over")
GENDERS = ("man", "woman")
RACES = ("White", "Black", "Indian", "Asian", "")
"""What the classes of the heads mean, in order; others than the first four races are not named."""

AGE_TOKEN, GENDER_TOKEN, RACE_TOKEN = 4, 5, 6


def sentences_of_tokens(
    face_model: FaceXFormerModel, task_tokens: torch.Tensor, found: Sequence[bool] | None = None
) -> list[str]:
    """The sentence of each face, from what the face network has said of it.

    Args:
        face_model ([`FaceXFormerModel`]): Gives the heads.
        task_tokens (`torch.FloatTensor` of shape `(n, 7 or 8, d)`): As it encodes faces.
        found (`Sequence[bool]`, *optional*): Which pictures hold a face; all, by default.

    Returns:
        `list[str]`: For example `"The person is a White woman aged 30-39."`; empty: no face.
    """
    tokens = task_tokens.to(face_model.device, face_model.dtype)
    with torch.inference_mode():
        ages = face_model.age_head(tokens[:, AGE_TOKEN]).argmax(-1).tolist()
        genders = face_model.gender_head(tokens[:, GENDER_TOKEN]).argmax(-1).tolist()
        races = face_model.race_head(tokens[:, RACE_TOKEN]).argmax(-1).tolist()
    sentences = [
        attribute_sentence(AGES[age], GENDERS[gender], RACES[race])
        for age, gender, race in zip(ages, genders, races, strict=True)
    ]
    if found is None:
        return sentences
    return [text if seen else "" for text, seen in zip(sentences, found, strict=True)]


@torch.inference_mode()
def predict_sentences(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    images: Sequence[Image.Image],
    boxes: Sequence[Box | None] | None = None,
    batch_size: int = 32,
) -> list[str]:
    """The sentence of each picture's face.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): With a face network.
        processor ([`EmoLlamaProcessor`]): Its processor.
        images (`Sequence[PIL.Image.Image]`): Pictures, RGB.
        boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
            The face of each, xyxy pixels, or `None` where there is none; without it each whole
            picture is the face.
        batch_size (`int`, *optional*, defaults to 32): Pictures in one pass.

    Returns:
        `list[str]`: As [`sentences_of_tokens`] gives them.
    """
    face_model = model.model.face_model
    sentences: list[str] = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        given = None if boxes is None else list(boxes[part])
        inputs = processor.image_processor(
            list(images[part]), face_boxes=given, return_tensors="pt"
        )
        crops = inputs["face_pixel_values"].to(face_model.device, face_model.dtype)
        _, tokens, _ = face_model.encode(crops)
        sentences += sentences_of_tokens(face_model, tokens, inputs["face_mask"].tolist())
    return sentences


def check_attributes(model: EmoLlamaForConditionalGeneration) -> None:
    """Makes sure that a model can predict attributes.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.

    Raises:
        UsageError: It has no face network that was taught these heads.
    """
    face_model = model.model.face_model
    if face_model is None:
        raise UsageError(
            "attributes: this model has no face network to predict them. Leave them off."
        )
    untaught = {"age", "gender", "race"} & set(face_model.config.untrained_heads)
    if untaught:
        raise UsageError(
            f"attributes: the face network was never taught {', '.join(sorted(untaught))}. Leave "
            "them off."
        )
