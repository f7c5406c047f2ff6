"""How a built row becomes what TRL's collator reads.

Stills are the images of their conversation, the frames of a clip one video in it. Pictures are
changed at random, or read as [`emo_llama.training.data.feature_cache`] has stored them, and age,
gender and race stand before the question where that is asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from emo_llama.modeling import EmoLlamaEncodings
from emo_llama.prompts import with_prefix
from emo_llama.training.data.augmentation import AugmentedFaces
from emo_llama.training.data.feature_cache import FeatureStore

__all__ = ["CLASSES", "EpochOfRows", "InstructionCollator", "ShownRows", "with_prefixes"]

CLASSES = "expression_labels"
"""Input of the trainer: the class of each still, then of each frame of the clips."""

IGNORED = -100
"""Label of a token that PyTorch's cross-entropy leaves out."""


class ShownRows:
    """A transform of `datasets.Dataset.with_transform`: built rows as conversations.

    What is drawn at random depends on rows, seed and epoch alone, as in [`AugmentedFaces`].

    Args:
        change ([`AugmentedFaces`], *optional*): Changes pictures at random.
        store ([`FeatureStore`], *optional*):
            Where pictures are numbers: their encodings.
        views (`int`, *optional*, defaults to 1): The stored views of each, of which one is drawn.
        seed (`int`, *optional*, defaults to 0): Of the draws.
    """

    def __init__(
        self,
        change: AugmentedFaces | None = None,
        store: FeatureStore | None = None,
        views: int = 1,
        seed: int = 0,
    ) -> None:
        self.change, self.store, self.views, self.seed = change, store, views, seed
        self.epoch = 0

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Columns `images`, `messages` and others -> the same; clips stand in their messages."""
        if self.store is not None:
            rows = rows | {
                "images": [self._drawn(self.store, numbers) for numbers in rows["images"]]
            }
        elif self.change is not None:
            self.change.epoch = self.epoch
            rows = self.change(rows)
        shown = [
            _as_clip(messages, images) if len(images) > 1 else (messages, images)
            for messages, images in zip(rows["messages"], rows["images"], strict=True)
        ]
        messages, images = zip(*shown, strict=True)
        return rows | {"messages": list(messages), "images": list(images)}

    def _drawn(self, store: FeatureStore, numbers: Sequence[int]) -> list[EmoLlamaEncodings]:
        """One view of each picture, a row each."""
        generator = np.random.default_rng([self.seed, self.epoch, *numbers])
        drawn = generator.integers(self.views, size=len(numbers))
        return [
            store.read([number * self.views + view])
            for number, view in zip(numbers, drawn, strict=True)
        ]


class EpochOfRows(TrainerCallback):
    """Tells [`ShownRows`] which epoch is shown."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: DataLoader | None = None,
        **kwargs: Any,
    ) -> None:
        """Before the first row of the epoch is read."""
        shown = getattr(getattr(train_dataloader, "dataset", None), "format", {})
        transform = shown.get("format_kwargs", {}).get("transform")
        if isinstance(transform, ShownRows):
            transform.epoch = int(state.epoch or 0)


def _as_clip(
    messages: list[dict[str, Any]], frames: list[Any]
) -> tuple[list[dict[str, Any]], list[Any]]:
    """A conversation about one clip, and no stills."""
    first, *others = messages
    if isinstance(frames[0], EmoLlamaEncodings):
        clip = EmoLlamaEncodings.cat(frames)
    else:  # transformers makes arrays of frames, and takes none without channels for a picture
        clip = [frame.convert("RGB") for frame in frames]
    content = [{"type": "video", "video": clip}, {"type": "text", "text": first["content"]}]
    return [first | {"content": content}, *others], []


def _num_frames(clip: Any) -> int:
    """Frames of a clip, of pictures or encoded."""
    return clip.num_frames if isinstance(clip, EmoLlamaEncodings) else len(clip)


def with_prefixes(rows: Dataset, prefixes: Sequence[str]) -> Dataset:
    """Puts a sentence before the first question of each row.

    Args:
        rows (`datasets.Dataset`): With `messages`.
        prefixes (`Sequence[str]`): A sentence a row; an empty one adds nothing.

    Returns:
        `datasets.Dataset`: The rows.
    """

    def prefix(row: dict[str, Any], index: int) -> dict[str, Any]:
        """The row's conversation with its sentence."""
        first, *others = row["messages"]
        return {
            "messages": [
                first | {"content": with_prefix(first["content"], prefixes[index])},
                *others,
            ]
        }

    return rows.map(prefix, with_indices=True, load_from_cache_file=False)


class InstructionCollator(DataCollatorForVisionLanguageModeling):
    """TRL's collator, which passes on the classes of rows and takes no placeholder for a label.

    TRL's loss goes past the model's own `forward`, which would leave placeholders out.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of [`ShownRows`] -> the model's inputs, and a class for each of its pictures."""
        stills = [row["class"] for row in examples if "class" in row and row["images"]]
        frames = [
            row["class"]
            for row in examples
            if "class" in row and not row["images"]
            for _ in range(_num_frames(row["messages"][0]["content"][0]["video"]))
        ]
        batch = super().torch_call(examples)
        # a placeholder stands for a picture; it is nothing that an answer could say
        for token_id in (self.processor.image_token_id, self.processor.video_token_id):
            batch["labels"].masked_fill_(batch["input_ids"] == token_id, IGNORED)  # (B, T)
        for name in ("encodings", "encodings_videos"):
            if name in batch:  # loaders pin and move dictionaries, but no output classes
                batch[name] = dict(batch[name])
        if stills or frames:  # the model reads stills first, then the frames of clips
            batch[CLASSES] = torch.tensor([*stills, *frames])
        return batch
