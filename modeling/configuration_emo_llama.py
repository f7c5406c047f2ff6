# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Configuration of EMO-LLaMA: which parts the model is put together from.

Decides the sub-models (as data), how a frame becomes tokens and how many (`num_tokens_per_frame`,
the one place that processor and model both read). It leaves out prompts and training.

What the processor hands to the model, beside `input_ids` and `attention_mask` of shape `(B, T)`.
Images and videos never share a tensor; each tensor follows the order of its placeholders.

| name | shape | meaning |
|---|---|---|
| `pixel_values` | `(n_images, C, H, W)` float | every image of the batch |
| `qformer_input_ids` | `(n_images, L)` int | the question asked of each image |
| `qformer_attention_mask` | `(n_images, L)` int | 1 where the question has a token |
| `face_pixel_values` | `(n_images, C, h, w)` float | the face crop of each image |
| `face_mask` | `(n_images,)` bool | False: this image has no face |
| `pixel_values_videos` | `(n_frames, C, H, W)` float | all frames, video after video |
| `frame_counts` | `(n_videos,)` int | frames of each video; they sum to `n_frames` |
| `qformer_input_ids_videos` | `(n_videos, L)` int | one question a video |
| `qformer_attention_mask_videos` | `(n_videos, L)` int | 1 where the question has a token |
| `face_pixel_values_videos` | `(n_frames, C, h, w)` float | the face crop of each frame |
| `face_mask_videos` | `(n_frames,)` bool | False: this frame has no face |
| `encodings` | a row an image | in place of pixels, faces and face mask: what `encode` gave |
| `encodings_videos` | a row a frame | likewise, of all frames |

An image stands in `input_ids` as `num_tokens_per_frame` copies of `image_token_id`, a video as
`frames * num_tokens_per_frame` copies of `video_token_id`. Everything but the ids is optional:
without questions the Q-Former runs on its queries alone, without face crops no frame has a face.
Videos of one length may come as `(n_videos, frames, C, H, W)`, without `frame_counts`.
"""

import math
from dataclasses import field
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto import AutoConfig
from transformers.models.instructblip.configuration_instructblip import InstructBlipQFormerConfig

from .configuration_facexformer import FaceXFormerConfig

MAX_LABELS = 256
MAX_TOKENS_PER_FRAME = 4096


@strict
class FaceInfoMiningConfig(PreTrainedConfig):
    r"""Configuration of [`FaceInfoMining`], which turns what the face network knows into tokens.

    Args:
        hidden_size (`int`, *optional*, defaults to 256):
            Width of the clues, the learned queries and the aggregator.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Heads of both clue attentions and of the aggregator.
        num_aggregator_layers (`int`, *optional*, defaults to 2):
            Layers of the Q-Former that mixes both kinds of clue with the question. 0 leaves it out.
        intermediate_size (`int`, *optional*, defaults to 1024):
            Width of the aggregator's feed-forward layers.
        dropout (`float`, *optional*, defaults to 0.0):
            Dropout inside the aggregator.
        face_tokens_per_frame (`int`, *optional*, defaults to 2):
            Tokens that each frame adds. With both kinds of clue on, half of them (rounded up) are
            global.
        use_global (`bool`, *optional*, defaults to `True`):
            Global clues: task tokens and the pooled map of the face network.
        use_local (`bool`, *optional*, defaults to `True`):
            Local clues: the map at each landmark, with the landmark's place and identity.
        use_text (`bool`, *optional*, defaults to `True`):
            Whether the aggregator reads the question.
        pool_size (`int`, *optional*, defaults to 7):
            Side of the grid that the face network's map is pooled to.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the aggregator's feed-forward layers.
        layer_norm_eps (`float`, *optional*, defaults to 1e-12):
            Epsilon of the aggregator's norms.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the aggregator's fresh weights.
        vocab_size (`int`, *optional*, defaults to 1):
            Words of the question. Inside [`EmoLlamaConfig`] it follows the Q-Former's.
        max_position_embeddings (`int`, *optional*, defaults to 1):
            Longest question, likewise.
        pad_token_id (`int`, *optional*):
            Padding of the question, likewise.

    Example:
    ```python
    >>> from emo_llama.modeling import FaceInfoMiningConfig

    >>> FaceInfoMiningConfig(use_local=False).num_global_queries
    2

    ```
    """

    model_type = "emo_llama_face_info_mining"
    base_config_key = "fim_config"
    # The aggregator is a Q-Former built from this very config: these are its names for our fields.
    attribute_map = {
        "num_hidden_layers": "num_aggregator_layers",
        "encoder_hidden_size": "hidden_size",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "dropout",
    }
    cross_attention_frequency: ClassVar[int] = 1  # every layer looks at the clues

    hidden_size: int = 256
    num_attention_heads: int = 8
    num_aggregator_layers: int = 2
    intermediate_size: int = 1024
    dropout: float = 0.0
    face_tokens_per_frame: int = 2
    use_global: bool = True
    use_local: bool = True
    use_text: bool = True
    pool_size: int = 7
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    vocab_size: int = 1
    max_position_embeddings: int = 1
    pad_token_id: int | None = None

    @property
    def num_global_queries(self) -> int:
        """`int`: Face tokens of a frame that look at the global clues."""
        if not self.use_global:
            return 0
        tokens = self.face_tokens_per_frame
        return (tokens + 1) // 2 if self.use_local else tokens

    @property
    def num_local_queries(self) -> int:
        """`int`: Face tokens of a frame that look at the local clues."""
        return self.face_tokens_per_frame - self.num_global_queries if self.use_local else 0

    def validate_face_tokens(self) -> None:
        """Check that the face tokens can be shared out.

        Raises:
            ValueError: There are fewer tokens than kinds of clue, or none at all.
        """
        least = self.use_global + self.use_local
        if self.face_tokens_per_frame < max(least, 1):
            raise ValueError(
                f"face_tokens_per_frame must be at least {max(least, 1)} with use_global="
                f"{self.use_global} and use_local={self.use_local}, got "
                f"{self.face_tokens_per_frame}. To switch the module off set both to False."
            )

    def validate_pool_size(self) -> None:
        """Check `pool_size`.

        Raises:
            ValueError: It is no side of a grid: no weights bound it, and memory grows by its
                square.
        """
        if not 1 <= self.pool_size <= 64:
            raise ValueError(f"pool_size must be between 1 and 64, got {self.pool_size}.")


@strict
class EmoLlamaConfig(PreTrainedConfig):
    r"""Configuration of [`EmoLlamaForConditionalGeneration`].

    The defaults give the 7B architecture: EVA-CLIP-g, an InstructBLIP Q-Former, Vicuna-7B,
    FaceXFormer and two face tokens a frame.

    Args:
        vision_config (`dict` or `PreTrainedConfig`, *optional*, defaults to EVA-CLIP-g, 39 layers):
            Any vision tower that `AutoModel` builds, or InstructBLIP's; transformer or
            convolutional.
        qformer_config (`dict` or `InstructBlipQFormerConfig`, *optional*, defaults to BERT-base):
            The text-guided Q-Former. Its `encoder_hidden_size` follows the tower.
        text_config (`dict` or `PreTrainedConfig`, *optional*, defaults to Vicuna-7B's Llama):
            Any causal language model of `AutoModelForCausalLM`.
        face_config (`dict` or `FaceXFormerConfig`, *optional*, defaults to the reference network):
            The face network. `None` leaves it and the Face Info Mining module out.
        fim_config (`dict` or `FaceInfoMiningConfig`, *optional*):
            The Face Info Mining module, with a switch for each of its parts.
        num_query_tokens (`int`, *optional*, defaults to 32):
            Learned queries of the Q-Former.
        compress (`str`, *optional*, defaults to `"mean"`):
            Content tokens of a frame: `"mean"` gives one, `"grid:N"` gives N x N, `"all"` one a
            patch.
        vision_grid_size (`int`, *optional*):
            Patches along one side of the tower's square output. Read from `image_size` and
            `patch_size` where the tower has them; others must name it for `compress="all"`.
        image_token_id (`int`, *optional*, defaults to 32000):
            Placeholder of an image, one copy a visual token. Part of the vocabulary, and never
            predicted.
        video_token_id (`int`, *optional*, defaults to 32001):
            Placeholder of a video, likewise.
        use_frame_tokens (`bool`, *optional*, defaults to `True`):
            Whether the tower's context and content tokens enter. Without them the model has no
            tower, and sees what the face network sees.
        projector_hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the content projector.
        attribute_prompt (`str`, *optional*, defaults to `"off"`):
            Whether one sentence about age, gender and race precedes the question: `"off"`,
            `"predicted"` by the face network, or `"given"` by the caller.
        label_temperature (`float`, *optional*, defaults to 1.0):
            What log-likelihoods of label names are divided by before the softmax (calibration).
        label_bias (`list[float]` of length `num_labels`, *optional*):
            What is then added to them, in the order of `id2label`: above zero for labels that the
            training data hold rarely (logit adjustment, arXiv 2007.07314).
        max_turns (`int`, *optional*):
            Questions in the longest conversation that a language model trained from scratch has
            seen: beside more it reads none of them well. Without it as many as its context holds.
        operating_points (`dict[str, list[float]]`, *optional*):
            What a caller may choose by name in place of `label_bias`, each of the same kind, as
            `"balanced"` for mean recall rather than accuracy.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`):
            Whether the language model's head shares the token embedding. Taken over from
            `text_config`.
        kwargs (`dict`, *optional*):
            As in [`PreTrainedConfig`]; `id2label` holds the expression labels of this checkpoint,
            in order.

    Example:
    ```python
    >>> from emo_llama.modeling import EmoLlamaConfig

    >>> config = EmoLlamaConfig(compress="grid:2")
    >>> config.num_tokens_per_frame  # 1 context + 4 content + 2 face
    7

    ```
    """

    model_type = "emo_llama"
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(
            config_class=AutoConfig, model_type="instructblip_vision_model"
        ),
        "qformer_config": SubConfigSpec(
            config_class=InstructBlipQFormerConfig, init_kwargs={"vocab_size": 30523}
        ),
        "text_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="llama",
            init_kwargs={
                "vocab_size": 32002,  # Vicuna's 32000 and the two placeholders
                "max_position_embeddings": 4096,
                "rms_norm_eps": 1e-5,
            },
        ),
        "face_config": SubConfigSpec(config_class=FaceXFormerConfig, optional=True),
        "fim_config": FaceInfoMiningConfig,
    }

    vision_config: dict | PreTrainedConfig | None = None
    qformer_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    face_config: dict | PreTrainedConfig | None = field(default_factory=dict)
    fim_config: dict | PreTrainedConfig | None = None
    num_query_tokens: int = 32
    compress: str = "mean"
    vision_grid_size: int | None = None
    image_token_id: int = 32000
    video_token_id: int = 32001
    use_frame_tokens: bool = True
    projector_hidden_act: str = "gelu"
    attribute_prompt: Literal["off", "predicted", "given"] = "off"
    label_temperature: float = 1.0
    label_bias: list[float] | tuple[float, ...] | None = None
    max_turns: int | None = None
    operating_points: dict[str, list[float]] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.qformer_config.encoder_hidden_size = self.vision_hidden_size
        if self.fim_config.use_text:
            for name in ("vocab_size", "max_position_embeddings", "pad_token_id"):
                setattr(self.fim_config, name, getattr(self.qformer_config, name))
        if self.text_config.tie_word_embeddings:  # saved there by every text-only checkpoint
            self.tie_word_embeddings = True

    def validate_compress(self) -> None:
        """Check `compress`.

        Raises:
            ValueError: It is none of `"mean"`, `"all"` and `"grid:N"` with N at least 1.
        """
        mode, _, side = self.compress.partition(":")
        if self.compress in ("mean", "all") or (mode == "grid" and side.isdigit() and int(side)):
            return
        raise ValueError(
            f'compress must be "mean", "all" or "grid:N" with N >= 1, got {self.compress!r}.'
        )

    def validate_frame_tokens(self) -> None:
        """Check `use_frame_tokens`.

        Raises:
            ValueError: Neither frame tokens nor face tokens are left.
        """
        if not self.use_frame_tokens and not self.num_face_tokens:
            raise ValueError(
                "use_frame_tokens=False leaves no visual token, since the Face Info Mining is off "
                "as well. Switch one of the two on."
            )

    def validate_num_tokens_per_frame(self) -> None:
        """Check `num_tokens_per_frame`.

        Raises:
            ValueError: A frame would fill a language model's context.
        """
        if self.num_tokens_per_frame > MAX_TOKENS_PER_FRAME:
            raise ValueError(
                f"a frame becomes {self.num_tokens_per_frame:,} tokens, more than the "
                f"{MAX_TOKENS_PER_FRAME:,} that a context has room for. Lower compress, "
                "vision_grid_size or face_tokens_per_frame."
            )

    def validate_labels(self) -> None:
        """Check `id2label`.

        Raises:
            ValueError: There is no label or too many, or one stands there twice, is too long, or
                is not printable.
        """
        labels = list((self.id2label or {}).values())
        if not 1 <= len(labels) <= MAX_LABELS or len(set(map(str, labels))) != len(labels):
            raise ValueError(
                f"id2label must name between 1 and {MAX_LABELS} labels, each once, got "
                f"{len(labels):,}."
            )
        for label in labels:
            if not (isinstance(label, str) and label.isprintable() and 0 < len(label) <= 100):
                raise ValueError(
                    "id2label must name each label in up to 100 printable characters, got "
                    f"{str(label)[:100]!r}."
                )

    def validate_label_temperature(self) -> None:
        """Check `label_temperature`.

        Raises:
            ValueError: It is not above zero and finite: the ranking would be lost or turned round.
        """
        if not 0 < self.label_temperature < math.inf:
            raise ValueError(
                f"label_temperature must be above 0 and finite, got {self.label_temperature}."
            )

    def validate_label_bias(self) -> None:
        """Check `label_bias` and its alternatives, the `operating_points`.

        Raises:
            ValueError: One has not one finite number a label.
        """
        given = {} if self.label_bias is None else {"label_bias": self.label_bias}
        for name, point in (self.operating_points or {}).items():
            given[f"operating_points[{name!r}]"] = point
        for name, bias in given.items():
            if not all(map(math.isfinite, bias)):
                raise ValueError(f"{name} must be finite, got {list(bias)}.")
            if len(bias) != self.num_labels:
                raise ValueError(
                    f"{name} has {len(bias)} numbers for {self.num_labels} labels. Give one a "
                    "label, or leave it out."
                )

    @property
    def vision_hidden_size(self) -> int:
        """`int`: Width of the tower's output; convolutional towers list one width a stage."""
        sizes = getattr(self.vision_config, "hidden_sizes", None)
        return sizes[-1] if sizes else self.vision_config.hidden_size

    @property
    def placeholder_ids(self) -> list[int]:
        """`list[int]`: Tokens that stand for visual tokens and are never a prediction."""
        return [self.image_token_id, self.video_token_id]

    @property
    def num_content_tokens(self) -> int:
        """`int`: Tokens of a frame that `compress` leaves of the tower's patches.

        Raises:
            ValueError: All patches are wanted and nothing tells how many there are.
        """
        if self.compress == "mean":
            return 1
        if self.compress.startswith("grid:"):
            return int(self.compress.partition(":")[2]) ** 2
        if self.vision_grid_size is not None:
            return self.vision_grid_size**2
        patch_size = getattr(self.vision_config, "patch_size", None)
        is_pyramid = getattr(self.vision_config, "depths", None) is not None
        if is_pyramid or not isinstance(patch_size, int):
            raise ValueError(
                f'compress="all" with a {self.vision_config.model_type} tower needs '
                "vision_grid_size: image side // total stride of the tower."
            )
        return (self.vision_config.image_size // patch_size) ** 2

    @property
    def num_face_tokens(self) -> int:
        """`int`: Face tokens of a frame; 0 where the Face Info Mining module is off."""
        fim = self.fim_config
        return fim.num_global_queries + fim.num_local_queries if self.face_config is not None else 0

    @property
    def num_tokens_per_frame(self) -> int:
        """`int`: Visual tokens of a frame: one context token, then content, then face tokens."""
        frame_tokens = 1 + self.num_content_tokens if self.use_frame_tokens else 0
        return frame_tokens + self.num_face_tokens


__all__ = ["EmoLlamaConfig", "FaceInfoMiningConfig"]
