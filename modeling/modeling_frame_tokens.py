# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Text-guided frame tokens (LLaMA-VID, arXiv 2311.17043): from the tower's patches to tokens.

Decides which tower looks at a frame, how the question finds its context token among the patches and
what `compress` leaves of them. It leaves out the face tokens and the language model.
"""

from math import isqrt

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.models.instructblip.configuration_instructblip import InstructBlipVisionConfig
from transformers.models.instructblip.modeling_instructblip import (
    InstructBlipQFormerModel,
    InstructBlipVisionModel,
)

from .configuration_emo_llama import EmoLlamaConfig
from .modeling_face_info_mining import run_qformer
from .modeling_facexformer import build_encoder


class EmoLlamaProjector(nn.Module):
    """Two linear layers: content tokens from the tower's width to the language model's.

    Args:
        config ([`EmoLlamaConfig`]): Both widths and the activation.
    """

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_hidden_size, width)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(width, width)

    def forward(self, content: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., D)."""
        return self.linear_2(self.act(self.linear_1(content)))


class EmoLlamaFrameTokens(nn.Module):
    """Text-guided frame tokens: one context token that the question asks for, then the content.

    Args:
        config ([`EmoLlamaConfig`]): Widths, queries and `compress`.
    """

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__()
        width, query_width = config.vision_hidden_size, config.qformer_config.hidden_size
        self.compress = config.compress
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, query_width))
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.qformer = InstructBlipQFormerModel._from_config(config.qformer_config)
        self.query_projection = nn.Linear(query_width, width)
        self.key_projection = nn.Linear(width, width)
        self.value_projection = nn.Linear(width, config.text_config.hidden_size)
        self.content_projector = EmoLlamaProjector(config)

    def forward(
        self,
        vision_states: torch.Tensor,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Turn the tower's output into tokens.

        Args:
            vision_states (`torch.FloatTensor` of shape `(N, S, C)`):
                A square grid of patches, row by row, after class or register tokens if any.
            qformer_input_ids (`torch.LongTensor` of shape `(N, L)`, *optional*): The question.
            qformer_attention_mask (`torch.LongTensor` of shape `(N, L)`, *optional*): Its mask.

        Returns:
            `torch.FloatTensor` of shape `(N, 1 + content, D)`: Context token first.
        """
        vision_states = vision_states.to(self.norm.weight.dtype)  # may be kept more precise
        side = isqrt(vision_states.shape[1])
        patches = vision_states[:, -(side**2) :]  # (N, P, C), what comes before is no patch
        queries = self.query_tokens.expand(vision_states.shape[0], -1, -1)
        states = self.norm(vision_states)
        asked = run_qformer(
            self.qformer, queries, states, qformer_input_ids, qformer_attention_mask
        )
        context = self.value_projection(self._attend(asked, patches))  # (N, 1, D)
        return torch.cat([context, self.content_projector(self._content(patches, side))], dim=1)

    def _attend(self, asked: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """Mean over the queries of what each finds among the raw patches: (N, 1, C)."""
        query, key = self.query_projection(asked), self.key_projection(patches)
        # under autocast the projections may come out less precise
        heads = (states[:, None] for states in (query, key, patches.to(key.dtype)))
        found = F.scaled_dot_product_attention(*heads)  # (N, 1, Q, C): one head, 1 / sqrt(C)
        return found.mean(dim=2)

    def _content(self, patches: torch.Tensor, side: int) -> torch.Tensor:
        """What `compress` leaves of the patches: (N, content, C)."""
        if self.compress == "all":
            return patches
        if self.compress == "mean":
            return patches.mean(dim=1, keepdim=True)
        cells = int(self.compress.partition(":")[2])
        if cells > side:
            raise ValueError(
                f'compress="{self.compress}" wants {cells} cells a side, but the tower gives '
                f"{side} patches a side. Choose a grid of at most {side}."
            )
        grid = patches.transpose(1, 2).unflatten(-1, (side, side))  # (N, C, side, side)
        pooled = F.avg_pool2d(grid, side // cells)[..., :cells, :cells]  # stride equals kernel
        return pooled.flatten(2).transpose(1, 2)


def build_vision_tower(config: EmoLlamaConfig) -> PreTrainedModel:
    """Make the tower that a configuration names.

    EVA gives what its last block gives: no norm after it.

    Args:
        config ([`EmoLlamaConfig`]): Its `vision_config` may be of any model of `AutoModel`.

    Returns:
        `PreTrainedModel`: The tower, freshly initialised.
    """
    if not isinstance(config.vision_config, InstructBlipVisionConfig):
        return build_encoder(config.vision_config)
    tower = InstructBlipVisionModel._from_config(config.vision_config)
    tower.post_layernorm = nn.Identity()
    return tower


__all__ = ["EmoLlamaFrameTokens", "EmoLlamaProjector", "build_vision_tower"]
