"""Apparent age, gender and race from the face network, as the sentence before a question.

As in the paper they are a text prompt, whose wording here is ours. They are guesses from pictures:
off unless somebody asks for them.
"""

from emo_llama.errors import UsageError
from emo_llama.modeling import EmoLlamaEncodings, EmoLlamaForConditionalGeneration
from emo_llama.prompts import attribute_sentence

__all__ = [
    "AGES",
    "GENDERS",
    "RACES",
    "attribute_sentences",
    "check_attributes",
]

AGES = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70 or over")
GENDERS = ("man", "woman")
RACES = ("White", "Black", "Indian", "Asian", "")
"""What the classes of the heads mean, in order; others than the first four races are not named."""


def attribute_sentences(encodings: EmoLlamaEncodings) -> list[str]:
    """The sentence of each face, from what the face network has said of it.

    Args:
        encodings ([`EmoLlamaEncodings`]): Of a model with a face network.

    Returns:
        `list[str]`: For example `"The person is a White woman aged 30-39."`; empty: no face.
    """
    if encodings.age_logits is None:  # the processor cuts no faces
        return [""] * encodings.num_frames
    logits = (encodings.age_logits, encodings.gender_logits, encodings.race_logits)
    guesses = zip(*(rows.argmax(-1).tolist() for rows in logits), strict=True)
    return [
        attribute_sentence(AGES[age], GENDERS[gender], RACES[race]) if is_face else ""
        for (age, gender, race), is_face in zip(guesses, encodings.face_mask.tolist(), strict=True)
    ]


def check_attributes(model: EmoLlamaForConditionalGeneration) -> None:
    """Makes sure that a model can predict attributes.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.

    Raises:
        UsageError: It has no face network with these heads trained.
    """
    face_model = model.model.face_model
    if face_model is None:
        raise UsageError(
            "attributes: this model has no face network to predict them. Leave them off."
        )
    untrained = {"age", "gender", "race"} & set(face_model.config.untrained_heads)
    if untrained:
        raise UsageError(
            f"attributes: the face network has no trained head of {', '.join(sorted(untrained))}. "
            "Leave them off."
        )
