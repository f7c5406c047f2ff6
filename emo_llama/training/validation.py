"""Scores a model on the validation split of its data: before the tuning, and when it is finished.

Where a recipe keeps features on disk, those of this split are kept as well, and every run over the
same encoders reads them.
"""

from pathlib import Path

from datasets import Image, List

from emo_llama.evaluation.split import ScoredSplit, score_split
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.training.data.feature_cache import store_features
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
    model = recognizer.model.requires_grad_(False)
    numbered, pictures = number_pictures(data.category(SPLIT), 1, None)
    store = store_features(model, recognizer.processor, pictures, cache)
    rows = (
        row | {"images": [store.read([number]) for number in row["images"]]} for row in numbered
    )
    return score_split(recognizer, rows)
