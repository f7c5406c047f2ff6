# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Output classes of EMO-LLaMA, and what its encoders tell of pictures before a question is asked.

Tower and face network look at a picture once; every question, the landmarks and the attributes are
answered from [`EmoLlamaEncodings`]. They are plain data: rows are selected, joined, moved and kept
on disk. How all this is computed is decided in `modeling_emo_llama.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.utils import ModelOutput

# transformers 5.24 says `cache` for the keys and values of what came before, earlier versions say
# `past_key_values`. Callers may use either name; this is the one that transformers itself reads.
CACHE_NAMES = ("cache", "past_key_values")
CACHE_NAME = next(f.name for f in fields(BaseModelOutputWithPast) if f.name in CACHE_NAMES)

# Of `EmoLlamaEncodings`: what the face network gives, in its order.
FACE_FIELDS = (
    *("feature_map", "task_tokens", "landmarks"),
    *("age_logits", "gender_logits", "race_logits", "face_mask"),
)


class _CacheByEitherName:
    """The cache of an output under the name that the installed transformers does not use."""

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there."""
        if name in CACHE_NAMES:
            return getattr(self, CACHE_NAME)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")


@dataclass
class EmoLlamaModelOutputWithPast(_CacheByEitherName, BaseModelOutputWithPast):
    """What [`EmoLlamaModel`] gives: as `BaseModelOutputWithPast`, and the visual tokens.

    Args:
        image_hidden_states (`torch.FloatTensor` of shape `(n_tokens, D)`, *optional*):
            All image tokens, as they entered the language model.
        video_hidden_states (`torch.FloatTensor` of shape `(n_tokens, D)`, *optional*):
            All video tokens, likewise.
        image_outputs (`BaseModelOutputWithPooling`, *optional*): As `get_image_features` gives it.
        video_outputs (`BaseModelOutputWithPooling`, *optional*): As `get_video_features` gives it.
    """

    image_hidden_states: torch.FloatTensor | None = None
    video_hidden_states: torch.FloatTensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None
    video_outputs: BaseModelOutputWithPooling | None = None


@dataclass
class EmoLlamaCausalLMOutputWithPast(_CacheByEitherName, CausalLMOutputWithPast):
    """What [`EmoLlamaForConditionalGeneration`] gives.

    As `CausalLMOutputWithPast`: `loss` of shape `()` where `labels` were given, `logits` of shape
    `(B, T, vocab_size)` in which placeholders have the lowest finite value, the `cache` where
    `use_cache` is on, `hidden_states` and `attentions` of the language model on request.

    Args:
        image_hidden_states (`torch.FloatTensor` of shape `(n_tokens, D)`, *optional*):
            All image tokens, as they entered the language model.
        video_hidden_states (`torch.FloatTensor` of shape `(n_tokens, D)`, *optional*):
            All video tokens, likewise.
        image_outputs (`BaseModelOutputWithPooling`, *optional*): As `get_image_features` gives it.
        video_outputs (`BaseModelOutputWithPooling`, *optional*): As `get_video_features` gives it.
    """

    image_hidden_states: torch.FloatTensor | None = None
    video_hidden_states: torch.FloatTensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None
    video_outputs: BaseModelOutputWithPooling | None = None


@dataclass
class EmoLlamaEncodings(ModelOutput):
    """What [`EmoLlamaModel.encode`] gives; one row a picture or frame, `None` for a missing part.

    Args:
        vision_states (`torch.FloatTensor` of shape `(N, S, C)`, *optional*):
            The tower's last states; `(N, C, h, w)` of a convolutional tower.
        feature_map (`torch.FloatTensor` of shape `(N, d, h, w)`, *optional*):
            The face network's fused map.
        task_tokens (`torch.FloatTensor` of shape `(N, 7 or 8, d)`, *optional*):
            Its tokens after the decoder, in the order of [`FaceXFormerOutput`].
        landmarks (`torch.FloatTensor` of shape `(N, 68, 2)`, *optional*):
            x and y in [-1, 1] of the face crop.
        age_logits (`torch.FloatTensor` of shape `(N, num_ages)`, *optional*): Age bins.
        gender_logits (`torch.FloatTensor` of shape `(N, num_genders)`, *optional*): Gender.
        race_logits (`torch.FloatTensor` of shape `(N, num_races)`, *optional*): Race.
        face_mask (`torch.BoolTensor` of shape `(N,)`, *optional*): False: no face was looked at.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*): Of the tower, on request; of the
            whole batch, so that rows are selected and joined without them.
        attentions (`tuple[torch.FloatTensor]`, *optional*): Likewise.

    Example:
    ```python
    >>> import torch
    >>> from emo_llama.testing import tiny_model

    >>> model = tiny_model()
    >>> encodings = model.encode(torch.zeros(3, 3, 56, 56), torch.zeros(3, 3, 64, 64))
    >>> encodings.landmarks.shape, encodings.select([2, 0]).num_frames
    (torch.Size([3, 68, 2]), 2)

    ```
    """

    vision_states: torch.FloatTensor | None = None
    feature_map: torch.FloatTensor | None = None
    task_tokens: torch.FloatTensor | None = None
    landmarks: torch.FloatTensor | None = None
    age_logits: torch.FloatTensor | None = None
    gender_logits: torch.FloatTensor | None = None
    race_logits: torch.FloatTensor | None = None
    face_mask: torch.BoolTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None

    @property
    def num_frames(self) -> int:
        """`int`: Rows: one a picture or frame."""
        return next(iter(self._rows().values())).shape[0]  # `len` would fix it in exported graphs

    def select(self, rows: Sequence[int] | slice | torch.Tensor) -> "EmoLlamaEncodings":
        """Some rows.

        Args:
            rows (`Sequence[int]`, `slice` or `torch.LongTensor`): Which, in the order wanted.

        Returns:
            [`EmoLlamaEncodings`]: Copies, but of a slice a view.
        """
        return EmoLlamaEncodings(**{name: value[rows] for name, value in self._rows().items()})

    def to(self, device: str | torch.device) -> "EmoLlamaEncodings":
        """The same on a device.

        Args:
            device (`str` or `torch.device`): Where to.

        Returns:
            [`EmoLlamaEncodings`]: All rows.
        """
        return EmoLlamaEncodings(**{name: value.to(device) for name, value in self._rows().items()})

    @staticmethod
    def cat(parts: Sequence["EmoLlamaEncodings"]) -> "EmoLlamaEncodings":
        """Rows of several encodings one after another.

        Args:
            parts (`Sequence[EmoLlamaEncodings]`): One at least, all of one model.

        Returns:
            [`EmoLlamaEncodings`]: All rows.

        Raises:
            ValueError: They have different fields.
        """
        rows = [part._rows() for part in parts]
        if any(row.keys() != rows[0].keys() for row in rows):
            fields = " and ".join(sorted({", ".join(row) for row in rows}))
            raise ValueError(f"Encodings of one model have the same fields, got {fields}.")
        return EmoLlamaEncodings(
            **{name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        )

    def _rows(self) -> dict[str, torch.Tensor]:
        """The fields that have a row for each picture."""
        return {name: v for name, v in self.items() if name not in ("hidden_states", "attentions")}


__all__ = [
    "EmoLlamaCausalLMOutputWithPast",
    "EmoLlamaEncodings",
    "EmoLlamaModelOutputWithPast",
]
