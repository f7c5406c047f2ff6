"""Scores a model on the validation split of its data: before the tuning, and when it is finished.

Where a recipe keeps features on disk, those of this split are kept as well, and every run over the
same encoders reads them.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Image, List

from emo_llama.evaluation.split import ScoredSplit, score_split
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.recognition.scoring import LabelScorer
from emo_llama.training.data.feature_cache import StoredPictures, store_features, stored_encoders
from emo_llama.training.data.feed import picture_sentences
from emo_llama.training.data.instructions import InstructionData
from emo_llama.training.data.pictures import number_pictures

__all__ = ["SPLIT", "score_validation"]

SPLIT = "validation"


def score_validation(
    recognizer: EmotionRecognizer, data: InstructionData, cache: Path | None = None
) -> ScoredSplit:
    """Scores the validation split of built instruction data.

    Args:
        recognizer ([`EmotionRecognizer`]): What is scored; it takes whole pictures for faces.
        data ([`InstructionData`]): What holds it.
        cache (`Path`, *optional*):
            Where features of the encoders are kept, as [`store_features`] takes it; they are stored
            first where need be.

    Returns:
        [`ScoredSplit`]: Probabilities and truth, the same with and without stored features.
    """
    if cache is None:
        rows = data.category(SPLIT).cast_column("images", List(Image(decode=False)))
        return score_split(recognizer, rows)
    model, processor = recognizer.model.requires_grad_(False), recognizer.processor
    numbered, pictures = number_pictures(data.category(SPLIT), 1, None)
    store = store_features(model, processor, pictures, cache)
    leads = None
    if recognizer.attributes == "predicted":
        leads = picture_sentences(model, processor, pictures, store)
    shown = (
        row | {"images": [np.full((1, 1, 1), number) for number in row["images"]]}
        for row in numbered
    )
    processor = copy.copy(processor)
    processor.image_processor = StoredPictures(store)
    with stored_encoders(model, [store]):
        return score_split(_NumberScorer(model, processor, recognizer.labels, leads), shown)


class _NumberScorer:
    """Scores stored pictures by their numbers."""

    def __init__(
        self,
        model: EmoLlamaForConditionalGeneration,
        processor: EmoLlamaProcessor,
        labels: tuple[str, ...],
        leads: Sequence[str] | None,
    ) -> None:
        self.labels, self.leads = labels, leads
        self.scorer = LabelScorer(model, processor, labels)

    def score_labels(self, images: Sequence[Any], *, batch_size: int = 64) -> np.ndarray:
        """Arrays of one number -> (n, n_labels)."""
        leads = None
        if self.leads is not None:
            leads = [self.leads[int(image.item())] for image in images]
        return self.scorer.score(images, None, batch_size, leads)
