# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""The face network: backbone taps, fusion, two-way decoder and one head a task.

Decides how a face crop becomes a feature map, task tokens and predictions (FaceXFormer, arXiv
2403.12960; written from its equations). It leaves out training, face detection and cropping. Three
things that the reference lacks are made where the configuration asks for them: an expression token
with its head (`num_expressions`), a short way from the deepest map to the tokens
(`use_pooled_map`), and a second look at the mirrored crop (`use_mirror`).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_facexformer import FaceXFormerConfig

# Which landmark stands where when the face is mirrored (iBUG 68).
LANDMARK_MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)
STRIDES = (4, 8, 16, 32)
"""Of the maps that are read from a backbone."""
BATCH_NORM_MOMENTUM = 0.1
"""PyTorch's own: the share of a batch in the running statistics."""
# Task tokens that should not change when the face is mirrored: attributes, age, gender and race.
# Expression is the fifth, where there is one.
SYMMETRIC_TASKS = (2, 4, 5, 6)


@dataclass
class FaceXFormerOutput(ModelOutput):
    """What the face network tells of each crop; every head answers for every row.

    Args:
        feature_map (`torch.FloatTensor` of shape `(B, d, h, w)`):
            Fused map, `h = w = image_size / 4`.
        task_tokens (`torch.FloatTensor` of shape `(B, 7, d)`, or `(B, 8, d)` with expression):
            Tokens after the decoder, in the order landmarks, head pose, attributes, visibility,
            age, gender, race, expression.
        landmarks (`torch.FloatTensor` of shape `(B, 68, 2)`): x and y in [-1, 1] of the crop.
        head_pose (`torch.FloatTensor` of shape `(B, 3)`): Pitch, yaw and roll in radians.
        attribute_logits (`torch.FloatTensor` of shape `(B, 40)`): Binary attributes.
        visibility_logits (`torch.FloatTensor` of shape `(B, 29)`):
            Positive where the point is occluded.
        age_logits (`torch.FloatTensor` of shape `(B, 8)`): Age bins.
        gender_logits (`torch.FloatTensor` of shape `(B, 2)`): Male, female.
        race_logits (`torch.FloatTensor` of shape `(B, 5)`): White, Black, Indian, Asian, Others.
        segmentation_logits (`torch.FloatTensor` of shape `(B, 11, H, W)`):
            Face parsing at the crop's size.
        expression_logits (`torch.FloatTensor` of shape `(B, num_expressions)`, *optional*):
            Only with that head.
        hidden_states (`tuple[torch.FloatTensor]` of shapes `(B, C_i, h_i, w_i)`, *optional*):
            The backbone's four maps, finest first, on request.
    """

    feature_map: torch.FloatTensor | None = None
    task_tokens: torch.FloatTensor | None = None
    landmarks: torch.FloatTensor | None = None
    head_pose: torch.FloatTensor | None = None
    attribute_logits: torch.FloatTensor | None = None
    visibility_logits: torch.FloatTensor | None = None
    age_logits: torch.FloatTensor | None = None
    gender_logits: torch.FloatTensor | None = None
    race_logits: torch.FloatTensor | None = None
    segmentation_logits: torch.FloatTensor | None = None
    expression_logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


class FaceXFormerMLP(nn.Module):
    """Three linear layers with ReLU between them: a prediction head."""

    def __init__(self, hidden_size: int, output_size: int) -> None:
        super().__init__()
        sizes = [hidden_size, hidden_size, hidden_size, output_size]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., output_size)."""
        for layer in self.layers[:-1]:
            hidden_states = F.relu(layer(hidden_states))
        return self.layers[-1](hidden_states)


class FaceXFormerMixer(nn.Conv2d):
    """A 1x1 convolution over several maps of one width, joined deepest first on the finest grid."""

    def forward(self, *feature_maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, h_i, w_i, d), finest first -> (B, d, h_0, w_0)."""
        # The reference upsamples each map, joins them and mixes them. All of that is linear, so
        # each map is mixed on its own, small grid. The weight is read here and not by a caller:
        # offloading brings it in when the module that holds it is called.
        size = feature_maps[0].shape[1:3]
        mixers = self.weight[:, :, 0, 0].chunk(len(feature_maps), dim=1)[::-1]
        mixed = []
        for mixer, feature_map in zip(mixers, feature_maps, strict=True):
            states = F.linear(feature_map, mixer).permute(0, 3, 1, 2)  # (B, d, h_i, w_i)
            mixed.append(F.interpolate(states, size=size, mode="bilinear", align_corners=False))
        return sum(mixed[1:], mixed[0])


class FaceXFormerFusion(nn.Module):
    """Brings the four backbone maps to one width and grid, and mixes them."""

    def __init__(self, channels: list[int], hidden_size: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(c, hidden_size) for c in channels)
        joined = len(channels) * hidden_size
        self.fuse = FaceXFormerMixer(joined, hidden_size, kernel_size=1, bias=False)

    def forward(self, feature_maps: list[torch.Tensor]) -> torch.Tensor:
        """Four maps (B, C_i, h_i, w_i), finest first -> (B, d, h_0, w_0)."""
        return self.fuse(
            *(
                projection(feature_map.permute(0, 2, 3, 1))  # (B, h_i, w_i, d)
                for projection, feature_map in zip(self.projections, feature_maps, strict=True)
            )
        )


class FaceXFormerPositionEmbedding(nn.Module):
    """Random Fourier features of the cell centres; the matrix is part of the weights."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("gaussian_matrix", self.fresh_matrix(hidden_size))

    @staticmethod
    def fresh_matrix(hidden_size: int) -> torch.Tensor:
        """(2, d / 2): random, but always the same, as transformers wants buffers to be."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(2, hidden_size // 2, generator=generator, device="cpu")

    def forward(self, height: int, width: int) -> torch.Tensor:
        """-> (h * w, d)."""
        matrix = self.gaussian_matrix.float()  # half precision would blur the angles
        y = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) / height
        x = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) / width
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (h, w, 2), x first
        angles = 2 * math.pi * ((2 * grid - 1) @ matrix)  # (h, w, d / 2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(0, 1)


class FaceXFormerAttention(nn.Module):
    """Multi-head attention with an inner width that may be narrower than d."""

    def __init__(self, config: FaceXFormerConfig, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = config.hidden_size // downsample_rate
        self.num_heads = config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, inner)
        self.k_proj = nn.Linear(config.hidden_size, inner)
        self.v_proj = nn.Linear(config.hidden_size, inner)
        self.out_proj = nn.Linear(inner, config.hidden_size)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Query (B, Q, d), key and value (B, K, d) -> (B, Q, d)."""
        q, k, v = (
            projection(states)
            .unflatten(-1, (self.num_heads, -1))
            .transpose(1, 2)  # (B, heads, ., d_head)
            for projection, states in (
                (self.q_proj, query),
                (self.k_proj, key),
                (self.v_proj, value),
            )
        )
        answers = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # (B, Q, heads, d_head)
        return self.out_proj(answers.flatten(2))  # (B, Q, d)


class FaceXFormerDecoderLayer(nn.Module):
    """Tokens attend to themselves and to the map, then the map attends to the tokens.

    This is the block of Segment Anything's two-way transformer (Kirillov et al. 2023, appendix A,
    https://arxiv.org/abs/2304.02643), its names of weights included.
    """

    def __init__(self, config: FaceXFormerConfig, is_first: bool) -> None:
        super().__init__()
        rate, width = config.attention_downsample_rate, config.hidden_size
        self.is_first = is_first
        self.self_attn = FaceXFormerAttention(config)
        self.cross_attn_token_to_image = FaceXFormerAttention(config, rate)
        self.cross_attn_image_to_token = FaceXFormerAttention(config, rate)
        self.lin1 = nn.Linear(width, config.mlp_dim)
        self.lin2 = nn.Linear(config.mlp_dim, width)
        self.norm1, self.norm2, self.norm3, self.norm4 = (
            nn.LayerNorm(width, eps=1e-5) for _ in range(4)
        )

    def forward(
        self,
        tokens: torch.Tensor,
        token_positions: torch.Tensor,
        image: torch.Tensor,
        image_positions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, N, d), image (B, h * w, d) and their positions -> both, updated."""
        if self.is_first:  # neither residual nor positions, as in Segment Anything
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            query = tokens + token_positions
            tokens = tokens + self.self_attn(query, query, tokens)
        tokens = self.norm1(tokens)
        # positions go to queries and keys only, anew in every layer: values stay what was seen
        keys = image + image_positions  # (B, h * w, d)
        tokens = self.norm2(
            tokens + self.cross_attn_token_to_image(tokens + token_positions, keys, image)
        )
        tokens = self.norm3(tokens + self.lin2(F.relu(self.lin1(tokens))))
        image = self.norm4(
            image + self.cross_attn_image_to_token(keys, tokens + token_positions, tokens)
        )
        return tokens, image


class FaceXFormerDecoder(nn.Module):
    """The two-way decoder: learned tokens in, answered tokens and an updated map out.

    Follows Segment Anything's two-way transformer, with a token a task and a token a segmentation
    class in place of prompts.
    """

    def __init__(self, config: FaceXFormerConfig) -> None:
        super().__init__()
        num_tokens = config.num_task_tokens + config.num_segmentation_classes
        self.tokens = nn.Parameter(torch.zeros(num_tokens, config.hidden_size))
        self.layers = nn.ModuleList(
            FaceXFormerDecoderLayer(config, is_first=i == 0)
            for i in range(config.num_decoder_layers)
        )
        self.final_attn_token_to_image = FaceXFormerAttention(
            config, config.attention_downsample_rate
        )
        self.norm_final_attn = nn.LayerNorm(config.hidden_size, eps=1e-5)

    def forward(
        self, image: torch.Tensor, image_positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (B, h * w, d) -> tokens (B, N, d), image (B, h * w, d)."""
        positions = self.tokens.expand(image.shape[0], -1, -1)  # (B, N, d)
        tokens = positions  # as there, a token's first state says ever after which one it is
        for layer in self.layers:
            tokens, image = layer(tokens, positions, image, image_positions)
        answer = self.final_attn_token_to_image(tokens + positions, image + image_positions, image)
        return self.norm_final_attn(tokens + answer), image


class FaceXFormerSegmentationHead(nn.Module):
    """Upsamples the decoder's map four times and compares each cell with each class token."""

    def __init__(self, config: FaceXFormerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.upscale1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.norm = nn.LayerNorm(width // 4, eps=1e-6)
        self.upscale2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.mlp = FaceXFormerMLP(width, width // 8)

    def forward(
        self, tokens: torch.Tensor, image: torch.Tensor, size: tuple[int, int]
    ) -> torch.Tensor:
        """Tokens (B, S, d), image (B, h * w, d), size (h, w) -> (B, S, 4h, 4w)."""
        states = self.upscale1(image.transpose(1, 2).unflatten(-1, size))  # (B, d / 4, 2h, 2w)
        # the norm is over channels at each place, where a LayerNorm takes the last dimension
        states = F.gelu(self.norm(states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        states = F.gelu(self.upscale2(states))  # (B, d / 8, 4h, 4w)
        return torch.einsum("bsc,bchw->bshw", self.mlp(tokens), states)


class FaceXFormerModel(PreTrainedModel):
    """Analyses face crops: every task has a token and a head.

    Landmarks, head pose, attributes, visibility, age, gender, race, parsing and, by configuration,
    expression.

    Args:
        config ([`FaceXFormerConfig`]): Widths, backbone and heads.

    Example:

    ```python
    >>> import torch
    >>> from emo_llama.modeling import FaceXFormerModel
    >>> from emo_llama.testing import tiny_face_config

    >>> config = tiny_face_config()
    >>> model = FaceXFormerModel(config).eval()
    >>> model(torch.zeros(1, 3, config.image_size, config.image_size)).landmarks.shape
    torch.Size([1, 68, 2])
    ```
    """

    config: FaceXFormerConfig
    config_class = FaceXFormerConfig
    base_model_prefix = "facexformer"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["FaceXFormerFusion", "FaceXFormerDecoderLayer"]
    # Its own attention is PyTorch's, which picks a kernel by itself; the rest is its backbone's.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: FaceXFormerConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.backbone = build_encoder(config.backbone_config)
        self._taps, channels = _taps(config.backbone_config)
        self.fusion = FaceXFormerFusion(channels, width)
        self.position_embedding = FaceXFormerPositionEmbedding(width)
        self.decoder = FaceXFormerDecoder(config)
        self.landmark_head = FaceXFormerMLP(width, 2 * config.num_landmarks)
        self.pose_head = FaceXFormerMLP(width, 3)
        self.attribute_head = FaceXFormerMLP(width, config.num_attributes)
        self.visibility_head = FaceXFormerMLP(width, config.num_visibility)
        self.age_head = FaceXFormerMLP(width, config.num_ages)
        self.gender_head = FaceXFormerMLP(width, config.num_genders)
        self.race_head = FaceXFormerMLP(width, config.num_races)
        self.segmentation_head = FaceXFormerSegmentationHead(config)
        self.expression_head = (
            FaceXFormerMLP(width, config.num_expressions) if config.num_expressions else None
        )
        self.pooled_projection = (
            nn.Linear(channels[-1], config.num_task_tokens * width)
            if config.use_pooled_map
            else None
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FaceXFormerDecoder):
            init.normal_(module.tokens)
        elif isinstance(module, FaceXFormerPositionEmbedding):
            init.copy_(module.gaussian_matrix, module.fresh_matrix(self.config.hidden_size))

    def get_backbone_maps(self, pixel_values: torch.FloatTensor) -> list[torch.Tensor]:
        """The backbone's four maps before each further downsampling.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised face crops.

        Returns:
            `list[torch.Tensor]`: Maps `(B, C_i, H / s, W / s)` at strides s = 4, 8, 16, 32.
        """
        kwargs = {"output_hidden_states": True, "return_dict": True}
        if self.config.backbone_config.model_type == "swin":
            kwargs["output_hidden_states_before_downsampling"] = True
            return list(self.backbone(pixel_values, **kwargs).reshaped_hidden_states[-4:])
        states = self.backbone(pixel_values, **kwargs).hidden_states
        return [states[tap] for tap in self._taps]

    def encode(
        self, pixel_values: torch.FloatTensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the Face Info Mining module reads, without the other heads.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised face crops.

        Returns:
            `tuple[torch.Tensor, torch.Tensor, torch.Tensor]`:
                `feature_map` (B, d, h, w), `task_tokens` (B, 7 or 8, d)
            and `landmarks` (B, 68, 2) in [-1, 1].
        """
        feature_map, task_tokens, landmarks, *_ = self._look(pixel_values)
        return feature_map, task_tokens, landmarks

    def read_attributes(
        self, task_tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Apparent age, gender and race of each face.

        Args:
            task_tokens (`torch.FloatTensor` of shape `(B, 7 or 8, d)`): As `encode` gives them.

        Returns:
            `tuple[torch.Tensor, torch.Tensor, torch.Tensor]`:
                Logits `(B, num_ages)`, `(B, num_genders)` and `(B, num_races)`.
        """
        heads = (self.age_head, self.gender_head, self.race_head)
        ages, genders, races = (head(task_tokens[:, i]) for i, head in enumerate(heads, start=4))
        return ages, genders, races

    def _look(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `encode`, then mask tokens (B, S, d), the decoded map (B, h * w, d) and four maps."""
        if not self.config.use_mirror:
            return self._look_once(pixel_values)
        both = self._look_once(torch.cat([pixel_values, pixel_values.flip(-1)]))
        # Not `chunk`: where the batch is dynamic, ONNX has no such split.
        straight, mirrored = zip(*(states.unflatten(0, (2, -1)) for states in both), strict=True)
        feature_map = (straight[0] + mirrored[0].flip(-1)) / 2
        tokens = straight[1].clone()
        same = list(SYMMETRIC_TASKS) + ([7] if self.config.num_expressions else [])
        tokens[:, same] = (tokens[:, same] + mirrored[1][:, same]) / 2
        back = mirrored[2][:, list(LANDMARK_MIRROR)] * mirrored[2].new_tensor([-1, 1])
        return feature_map, tokens, (straight[2] + back) / 2, *straight[3:]

    def _look_once(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `_look`, at the crop alone."""
        maps = self.get_backbone_maps(pixel_values)
        feature_map = self.fusion(maps)
        tokens, image = self._decode(feature_map)
        task_tokens = self._task_tokens(tokens, maps[-1])
        landmarks = self.landmark_head(task_tokens[:, 0]).unflatten(-1, (-1, 2))
        mask_tokens = tokens[:, 7 : 7 + self.config.num_segmentation_classes]
        return feature_map, task_tokens, landmarks, mask_tokens, image, *maps

    def get_task_tokens(self, feature_map: torch.Tensor, last_map: torch.Tensor) -> torch.Tensor:
        """The decoder's answer to a fused map.

        Args:
            feature_map (`torch.FloatTensor` of shape `(B, d, h, w)`): Fused map.
            last_map (`torch.FloatTensor` of shape `(B, C, h / 8, w / 8)`):
                The backbone's deepest map; read only where `config.use_pooled_map`.

        Returns:
            `torch.FloatTensor`: `task_tokens` (B, 7 or 8, d).
        """
        return self._task_tokens(self._decode(feature_map)[0], last_map)

    def _decode(self, feature_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        positions = self.position_embedding(*feature_map.shape[-2:]).to(feature_map.dtype)
        return self.decoder(feature_map.flatten(2).transpose(1, 2), positions)

    def _task_tokens(self, tokens: torch.Tensor, last_map: torch.Tensor) -> torch.Tensor:
        """Drops the segmentation tokens, adds the pooled map: (B, N, d) -> (B, 7 or 8, d)."""
        tokens = torch.cat(
            [tokens[:, :7], tokens[:, 7 + self.config.num_segmentation_classes :]], dim=1
        )
        if self.pooled_projection is None:
            return tokens
        pooled = self.pooled_projection(last_map.mean((2, 3)))
        return tokens + pooled.unflatten(-1, (tokens.shape[1], -1))

    def forward(
        self,
        pixel_values: torch.FloatTensor,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: object,
    ) -> FaceXFormerOutput | tuple:
        """Runs every head on every crop.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`):
                Normalised face crops; H = W = `image_size`.
            return_dict (`bool`, *optional*): `False` gives a plain tuple.
            output_hidden_states (`bool`, *optional*, defaults to the config's):
                Whether to give the backbone's maps as well.
            kwargs (`dict`, *optional*): Ignored.

        Returns:
            [`FaceXFormerOutput`]: Maps, tokens and predictions.
        """
        feature_map, task_tokens, landmarks, mask_tokens, image, *maps = self._look(pixel_values)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        ages, genders, races = self.read_attributes(task_tokens)
        output = FaceXFormerOutput(
            feature_map=feature_map,
            task_tokens=task_tokens,
            landmarks=landmarks,
            head_pose=self.pose_head(task_tokens[:, 1]),
            attribute_logits=self.attribute_head(task_tokens[:, 2]),
            visibility_logits=self.visibility_head(task_tokens[:, 3]),
            age_logits=ages,
            gender_logits=genders,
            race_logits=races,
            segmentation_logits=self.segmentation_head(mask_tokens, image, feature_map.shape[-2:]),
            expression_logits=None
            if self.expression_head is None
            else self.expression_head(task_tokens[:, 7]),
            hidden_states=tuple(maps) if output_hidden_states else None,
        )
        use_dict = return_dict if return_dict is not None else self.config.return_dict
        return output if use_dict else output.to_tuple()


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Make any encoder that `AutoModel` knows.

    A convolutional one has no attention, and transformers refuses to build it where the whole model
    is asked for an attention implementation by name; here it accepts any.

    Args:
        config (`PreTrainedConfig`): The encoder's configuration.

    Returns:
        `PreTrainedModel`: The encoder, freshly initialised.
    """
    model_class = MODEL_MAPPING.get(type(config), None)
    if model_class is None or model_class._supports_sdpa:
        return AutoModel.from_config(config, attn_implementation=_attention(model_class, config))
    model = AutoModel.from_config(config, attn_implementation="eager")
    model._supports_sdpa = model._supports_flash_attn = model._supports_flex_attn = True
    for module in model.modules():
        # MobileNets carry TensorFlow's decay as PyTorch's momentum: the last batch would be all.
        if isinstance(module, nn.BatchNorm2d) and (module.momentum or 0) > 0.5:
            module.momentum = BATCH_NORM_MOMENTUM
    return model


def _attention(model_class: type[PreTrainedModel] | None, config: PreTrainedConfig) -> str | None:
    """What was asked for, or PyTorch's where the encoder lacks it (Swin: flex and flash)."""
    wanted = config._attn_implementation
    if model_class is None or wanted is None:
        return wanted
    lacks_flash = wanted.startswith("flash") and not model_class._supports_flash_attn
    lacks_flex = wanted.startswith("flex") and not model_class._supports_flex_attn
    return "sdpa" if lacks_flash or lacks_flex else wanted


def _taps(config: PreTrainedConfig) -> tuple[list[int], list[int]]:
    """Which hidden states of a backbone are the four maps, and how wide these are.

    Where the configuration does not tell, the backbone looks at an empty picture without weights:
    the last state at each of the strides 4, 8, 16 and 32 is taken.
    """
    last = [-4, -3, -2, -1]
    if config.model_type == "swin":
        return last, [config.embed_dim * 2**stage for stage in range(4)]
    widths = list(getattr(config, "hidden_sizes", None) or ())
    if len(widths) == len(last):
        return last, widths
    with torch.device("meta"), torch.no_grad():
        pixels = torch.zeros(
            1, getattr(config, "num_channels", 3), 2 * STRIDES[-1], 2 * STRIDES[-1]
        )
        states = build_encoder(config).eval()(pixels, output_hidden_states=True).hidden_states
    shapes = [state.shape for state in states]
    sides = {shape[-1]: tap for tap, shape in enumerate(shapes) if len(shape) == 4}
    wanted = [pixels.shape[-1] // stride for stride in STRIDES]
    if not set(wanted) <= set(sides):
        raise ValueError(
            f"{config.model_type}: expected maps at strides {', '.join(map(str, STRIDES))}, found "
            f"states of {[tuple(shape[1:]) for shape in shapes]} for {pixels.shape[-1]} pixels. "
            "Choose a convolutional backbone, or Swin."
        )
    taps = [sides[side] for side in wanted]
    return taps, [shapes[tap][1] for tap in taps]


__all__ = ["FaceXFormerModel", "FaceXFormerOutput", "build_encoder"]
