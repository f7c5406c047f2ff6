# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Face Info Mining: from what the face network knows to a few face tokens a frame.

Decides how global clues (task tokens, pooled map) and local clues (the map at each landmark) are
gathered, attended to by learned queries, mixed with the question and brought to the language
model's width. The paper (arXiv 2408.11424) names these stages without their equations: everything
below that level is this project's choice. It leaves out the face network itself.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerModel

from .configuration_emo_llama import EmoLlamaConfig

# Clues are told apart by learned identities as large as their contents, so that attention has a
# hold from the start; queries are smaller, so that what they are does not drown what they find.
IDENTITY_STD = 1.0
QUERY_STD = 0.25


class GlobalClues(nn.Module):
    """Task tokens and the pooled map of the face network as clue tokens.

    Args:
        config ([`EmoLlamaConfig`]): Widths of both networks and the pooled grid.
    """

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__()
        face_width, width = config.face_config.hidden_size, config.fim_config.hidden_size
        self.pool_size = config.fim_config.pool_size
        self.task_norm = nn.LayerNorm(face_width)
        self.task_projection = nn.Linear(face_width, width)
        self.map_norm = nn.LayerNorm(face_width)
        self.map_projection = nn.Linear(face_width, width)
        num_clues = config.face_config.num_task_tokens + self.pool_size**2
        self.identity = nn.Parameter(torch.empty(num_clues, width))

    def forward(self, feature_map: torch.Tensor, task_tokens: torch.Tensor) -> torch.Tensor:
        """Gather the clues.

        Args:
            feature_map (`torch.FloatTensor` of shape `(N, d, h, w)`): The fused map.
            task_tokens (`torch.FloatTensor` of shape `(N, K, d)`): Tokens after the face decoder.

        Returns:
            `torch.FloatTensor` of shape `(N, K + pool_size**2, width)`: One row a clue.
        """
        cells = F.adaptive_avg_pool2d(feature_map, self.pool_size)  # (N, d, p, p)
        cells = self.map_projection(self.map_norm(cells.flatten(2).transpose(1, 2)))
        tasks = self.task_projection(self.task_norm(task_tokens))
        return torch.cat([tasks, cells], dim=1) + self.identity


class LocalClues(nn.Module):
    """The face network's map at each landmark, with the landmark's place and identity.

    Args:
        config ([`EmoLlamaConfig`]): Widths of both networks and the number of landmarks.
    """

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__()
        face_width, width = config.face_config.hidden_size, config.fim_config.hidden_size
        self.norm = nn.LayerNorm(face_width)
        self.projection = nn.Linear(face_width, width)
        self.place = nn.Linear(2, width)
        self.identity = nn.Parameter(torch.empty(config.face_config.num_landmarks, width))

    def forward(self, feature_map: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Gather the clues.

        Args:
            feature_map (`torch.FloatTensor` of shape `(N, d, h, w)`): The fused map.
            landmarks (`torch.FloatTensor` of shape `(N, L, 2)`): x and y in [-1, 1] of the crop.

        Returns:
            `torch.FloatTensor` of shape `(N, L, width)`: One row a landmark.
        """
        # In half precision a CPU samples a channels_last map from memory that is not the map's, and
        # coordinates of 8 bits miss the landmark: sample in single precision.
        grid = landmarks[:, :, None].float()  # (N, L, 1, 2)
        samples = F.grid_sample(
            feature_map.float(), grid, padding_mode="border", align_corners=False
        )
        samples = samples.squeeze(-1).transpose(1, 2).to(feature_map.dtype)  # (N, L, d)
        place = self.place(landmarks.to(feature_map.dtype))
        return self.projection(self.norm(samples)) + place + self.identity


class ClueAttention(nn.Module):
    """Learned queries that attend to one kind of clue.

    Args:
        config ([`EmoLlamaConfig`]): Width and heads.
        num_queries (`int`): Rows of the result.
    """

    def __init__(self, config: EmoLlamaConfig, num_queries: int) -> None:
        super().__init__()
        width = config.fim_config.hidden_size
        self.num_heads = config.fim_config.num_attention_heads
        self.queries = nn.Parameter(torch.empty(num_queries, width))
        self.norm = nn.LayerNorm(width)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, clues: torch.Tensor) -> torch.Tensor:
        """Attend.

        Args:
            clues (`torch.FloatTensor` of shape `(N, K, width)`): The clues of each frame.

        Returns:
            `torch.FloatTensor` of shape `(N, num_queries, width)`: What each query found.
        """
        queries = self.queries.expand(clues.shape[0], -1, -1)
        clues = self.norm(clues)
        query, key, value = (
            states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, heads, ., d_head)
            for states in (self.q_proj(queries), self.k_proj(clues), self.v_proj(clues))
        )
        found = F.scaled_dot_product_attention(query, key, value)
        return queries + self.out_proj(found.transpose(1, 2).flatten(2))


class FaceInfoMining(nn.Module):
    """Turns clues of the face network into face tokens of the language model's width.

    Args:
        config ([`EmoLlamaConfig`]): `fim_config` says which parts there are.

    Example:
    ```python
    >>> import torch
    >>> from emo_llama.testing import tiny_model

    >>> model = tiny_model().model
    >>> size = model.config.face_config.image_size
    >>> features = model.face_model.encode(torch.zeros(3, 3, size, size))
    >>> model.face_info_mining(features).shape  # three frames, two face tokens each
    torch.Size([3, 2, 16])

    ```
    """

    def __init__(self, config: EmoLlamaConfig) -> None:
        super().__init__()
        fim = config.fim_config
        self.config = fim
        if fim.use_global:
            self.global_clues = GlobalClues(config)
            self.global_attention = ClueAttention(config, fim.num_global_queries)
        if fim.use_local:
            self.local_clues = LocalClues(config)
            self.local_attention = ClueAttention(config, fim.num_local_queries)
        has_aggregator = fim.num_aggregator_layers > 0
        self.aggregator = InstructBlipQFormerModel._from_config(fim) if has_aggregator else None
        self.norm = nn.LayerNorm(fim.hidden_size)
        self.projection = nn.Linear(fim.hidden_size, config.text_config.hidden_size)
        self.no_face = nn.Parameter(
            torch.empty(config.num_face_tokens, config.text_config.hidden_size)
        )

    def forward(
        self,
        face_features: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None,
        face_mask: torch.Tensor | None = None,
        qformer_input_ids: torch.Tensor | None = None,
        qformer_attention_mask: torch.Tensor | None = None,
        num_frames: int = 1,
    ) -> torch.Tensor:
        """Mine the face tokens of each frame.

        Args:
            face_features (`tuple` of three `torch.FloatTensor` or `None`):
                What [`FaceXFormerModel.encode`] gave: the fused map `(N, d, h, w)`, task tokens
                `(N, K, d)` and landmarks `(N, 68, 2)`. `None` where no frame has a face.
            face_mask (`torch.BoolTensor` of shape `(N,)`, *optional*):
                False where the crop holds no face. Without it every crop does.
            qformer_input_ids (`torch.LongTensor` of shape `(N, L)`, *optional*): The question.
            qformer_attention_mask (`torch.LongTensor` of shape `(N, L)`, *optional*): Its mask.
            num_frames (`int`, *optional*, defaults to 1): Frames, where there are no features.

        Returns:
            `torch.FloatTensor` of shape `(N, face_tokens_per_frame, D)`: Global tokens first. The
            learned "no face" embedding where there is no face.
        """
        if face_features is None:
            return self.no_face.expand(num_frames, -1, -1)
        feature_map, task_tokens, landmarks = face_features
        dtype = self.no_face.dtype  # may be kept more precise than the face network
        clues, found = self._look(feature_map.to(dtype), task_tokens.to(dtype), landmarks)
        if self.aggregator is not None:
            ids = qformer_input_ids if self.config.use_text else None
            found = run_qformer(self.aggregator, found, clues, ids, qformer_attention_mask)
        tokens = self.projection(self.norm(found))  # (N, F, D)
        if face_mask is None:
            return tokens
        return torch.where(face_mask.bool()[:, None, None], tokens, self.no_face.to(tokens.dtype))

    def _look(
        self, feature_map: torch.Tensor, task_tokens: torch.Tensor, landmarks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All clues (N, K, width), and what the learned queries find in them (N, F, width)."""
        clues, found = [], []
        if self.config.use_global:
            clues.append(self.global_clues(feature_map, task_tokens))
            found.append(self.global_attention(clues[-1]))
        if self.config.use_local:
            clues.append(self.local_clues(feature_map, landmarks))
            found.append(self.local_attention(clues[-1]))
        return torch.cat(clues, dim=1), torch.cat(found, dim=1)

    def init_weights(self, std: float) -> None:
        """Initialise what the language model's own rule does not suit.

        Args:
            std (`float`): Standard deviation of the "no face" embedding.
        """
        init.normal_(self.no_face, std=std)
        for module in self.modules():
            if isinstance(module, (GlobalClues, LocalClues)):
                init.normal_(module.identity, std=IDENTITY_STD)
                keep_scale(module)
            elif isinstance(module, ClueAttention):
                init.normal_(module.queries, std=QUERY_STD)
                keep_scale(module)


def keep_scale(module: nn.Module) -> None:
    """Initialise the linear layers right below a module so that they keep their input's scale.

    A fixed standard deviation of 0.02 would all but silence them where the widths are small.

    Args:
        module (`nn.Module`): The module.
    """
    for child in module.children():
        if isinstance(child, nn.Linear):
            init.normal_(child.weight, std=child.in_features**-0.5)


def run_qformer(
    qformer: InstructBlipQFormerModel,
    queries: torch.Tensor,
    states: torch.Tensor,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
) -> torch.Tensor:
    """Run a Q-Former on queries, with or without a question.

    Args:
        qformer (`InstructBlipQFormerModel`): The Q-Former.
        queries (`torch.FloatTensor` of shape `(N, Q, H)`): Its queries.
        states (`torch.FloatTensor` of shape `(N, K, C)`): What the queries look at.
        input_ids (`torch.LongTensor` of shape `(N, L)`, *optional*): The question.
        attention_mask (`torch.LongTensor` of shape `(N, L)`, *optional*): Its mask.

    Returns:
        `torch.FloatTensor` of shape `(N, Q, H)`: The queries after the last layer.
    """
    mask = None
    if input_ids is not None and attention_mask is not None:
        seen = attention_mask.new_ones(queries.shape[:2])  # queries are always seen
        mask = torch.cat([seen, attention_mask], dim=1)  # (N, Q + L)
    outputs = qformer(
        input_ids=input_ids,
        attention_mask=mask,
        query_embeds=queries,
        encoder_hidden_states=states,
    )
    return outputs.last_hidden_state[:, : queries.shape[1]]


__all__ = ["FaceInfoMining"]
