"""What a tuning is fed with: rows in the shape that its recipe asks for, and what collates them.

Joins the built rows ([`emo_llama.training.data.instructions`]) with random changes, attribute
sentences, stored features and weights of rare labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from trl import SFTConfig

from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.recognition.attributes import attribute_sentences, check_attributes
from emo_llama.recognition.encoding import encode_pictures
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.data.augmentation import AugmentedFaces
from emo_llama.training.data.collator import InstructionCollator, ShownRows, with_prefixes
from emo_llama.training.data.feature_cache import FeatureStore, store_features
from emo_llama.training.data.instructions import InstructionData
from emo_llama.training.data.pictures import NumberedPictures, number_pictures
from emo_llama.training.data.sampling import balanced_weights

__all__ = ["Feed", "feed", "picture_sentences"]

SENTENCES_AT_ONCE = 64


class Feed(NamedTuple):
    """Rows and what belongs to them.

    Args:
        rows (`datasets.Dataset`): As TRL takes them.
        collator ([`InstructionCollator`]): Makes batches of them.
        weights (`np.ndarray` of shape (n,), *optional*): How often each is drawn.
    """

    rows: Dataset
    collator: InstructionCollator
    weights: np.ndarray | None


def feed(
    data: InstructionData,
    recipe: RecipeArguments,
    sft: SFTConfig,
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    split: str = "train",
) -> Feed:
    """Prepares one split as a recipe says.

    Args:
        data ([`InstructionData`]): The built rows.
        recipe ([`RecipeArguments`]): Changes, attributes, cache and balance.
        sft ([`trl.SFTConfig`]): Seed, and how answers are masked.
        model ([`EmoLlamaForConditionalGeneration`]): Its frozen encoders are asked.
        processor ([`EmoLlamaProcessor`]): Prepares pictures and texts.
        split (`str`, *optional*, defaults to `"train"`):
            Of others the category rows are shown, as they are.

    Returns:
        [`Feed`]: For [`InstructionTrainer`].

    Raises:
        UsageError: The model cannot give what is asked.
    """
    is_training = split == "train"
    rows = data.rows(recipe.conversation_share, sft.seed, split)
    change = None
    if recipe.augment_faces and is_training:
        change = AugmentedFaces(recipe.augment_faces, sft.seed)
    weights = None
    if recipe.balance and is_training:
        weights = balanced_weights(rows["class"], recipe.balance)
    store, prefixes, shown = None, None, ShownRows(change)
    if recipe.feature_cache is not None or recipe.attributes == "predicted":
        views = recipe.feature_views if recipe.feature_cache is not None else 1
        kept_change = change if recipe.feature_cache is not None else None
        numbered, pictures = number_pictures(rows, views, kept_change)
        if recipe.feature_cache is not None:
            store = store_features(model, processor, pictures, Path(recipe.feature_cache))
        if recipe.attributes == "predicted":
            check_attributes(model)
            sentences = picture_sentences(model, processor, pictures, store)
            prefixes = [sentences[images[len(images) // 2]] for images in numbered["images"]]
        if store is not None:
            rows, shown = numbered, ShownRows(None, store, pictures.views, sft.seed)
    if prefixes is not None:
        rows = with_prefixes(rows, prefixes)
    collator = InstructionCollator(
        processor=processor,
        max_length=sft.max_length,
        pad_to_multiple_of=sft.pad_to_multiple_of,
        assistant_only_loss=bool(sft.assistant_only_loss),
    )
    return Feed(rows.with_transform(shown), collator, weights)


def picture_sentences(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    pictures: NumberedPictures,
    store: FeatureStore | None,
) -> Sequence[str]:
    """The attribute sentence of each picture, from its first view.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): With a face network.
        processor ([`EmoLlamaProcessor`]): Prepares the pictures.
        pictures ([`NumberedPictures`]): The pictures.
        store ([`FeatureStore`], *optional*): What the face network has said of them.

    Returns:
        `Sequence[str]`: By number; empty where there is no face.
    """
    sentences: list[str] = []
    every = range(len(pictures.places))
    for start in range(0, len(every), SENTENCES_AT_ONCE):
        numbers = [number * pictures.views for number in every[start : start + SENTENCES_AT_ONCE]]
        if store is None:
            encodings, _ = encode_pictures(model, processor, pictures.load(numbers))
        else:
            encodings = store.read(numbers)
        sentences += attribute_sentences(encodings)
    return sentences
