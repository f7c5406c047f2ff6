# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the face network.

Decides which backbone, widths and heads a [`FaceXFormerModel`] has. It leaves out how the network
is trained and how faces are found and cropped.
"""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto import AutoConfig


@strict
class FaceXFormerConfig(PreTrainedConfig):
    r"""Configuration of a [`FaceXFormerModel`], which answers each task with one token.

    The defaults give the reference network (FaceXFormer, arXiv 2403.12960): Swin-B, 92M parameters.

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*, defaults to Swin-B):
            Any backbone that `AutoModel` builds and that gives four maps at strides 4, 8, 16 and
            32: Swin, or a convolutional one such as RegNet, ResNet or MobileNet.
        hidden_size (`int`, *optional*, defaults to 256):
            Width d of the fused map, the tokens and the decoder; divisible by 8 and by `2 *
            num_attention_heads`.
        image_size (`int`, *optional*, defaults to 224):
            Side of the square face crop, in pixels; divisible by 4.
        num_decoder_layers (`int`, *optional*, defaults to 2):
            Two-way layers of the decoder.
        num_attention_heads (`int`, *optional*, defaults to 8):
            Heads of every attention of the decoder.
        mlp_dim (`int`, *optional*, defaults to 2048):
            Inner width of the decoder's MLP.
        attention_downsample_rate (`int`, *optional*, defaults to 2):
            Factor by which cross-attention narrows its inner width.
        num_landmarks (`int`, *optional*, defaults to 68):
            Face landmarks (iBUG order).
        num_attributes (`int`, *optional*, defaults to 40):
            Binary face attributes (CelebA list).
        num_visibility (`int`, *optional*, defaults to 29):
            Points whose occlusion is told.
        num_ages (`int`, *optional*, defaults to 8):
            Age bins: 0-9, 10-19, ..., 60-69, 70 and over.
        num_genders (`int`, *optional*, defaults to 2):
            0 male, 1 female.
        num_races (`int`, *optional*, defaults to 5):
            White, Black, Indian, Asian, Others.
        num_segmentation_classes (`int`, *optional*, defaults to 11):
            Classes of the face parsing map.
        num_expressions (`int`, *optional*, defaults to 0):
            Size of the expression head. 0 leaves out its token and head, as the reference does.
        use_pooled_map (`bool`, *optional*, defaults to `False`):
            Add a projection of the backbone's pooled deepest map to every task token, so that a
            small decoder need not carry it. The reference does not.
        use_mirror (`bool`, *optional*, defaults to `False`):
            Look at the mirrored crop as well, at twice the cost, and average what both tell: the
            map, landmarks, and all task tokens that have no side. The reference does not.
        untrained_heads (`list[str]`, *optional*, defaults to `[]`):
            Heads of this checkpoint that no data has trained, so that nobody reads their output.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of freshly made linear layers.

    Example:

    ```python
    >>> from emo_llama.modeling import FaceXFormerConfig

    >>> FaceXFormerConfig().backbone_config.model_type
    'swin'
    ```
    """

    model_type = "facexformer"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="swin",
            init_kwargs={
                "image_size": 224,
                "embed_dim": 128,
                "depths": [2, 2, 18, 2],
                "num_heads": [4, 8, 16, 32],
                "window_size": 7,
                "drop_path_rate": 0.5,
            },
        ),
    }

    backbone_config: dict | PreTrainedConfig | None = None
    hidden_size: int = 256
    image_size: int = 224
    num_decoder_layers: int = 2
    num_attention_heads: int = 8
    mlp_dim: int = 2048
    attention_downsample_rate: int = 2
    num_landmarks: int = 68
    num_attributes: int = 40
    num_visibility: int = 29
    num_ages: int = 8
    num_genders: int = 2
    num_races: int = 5
    num_segmentation_classes: int = 11
    num_expressions: int = 0
    use_pooled_map: bool = False
    use_mirror: bool = False
    untrained_heads: list[str] | tuple[str, ...] = ()
    initializer_range: float = 0.02

    @property
    def num_task_tokens(self) -> int:
        """`int`: Rows of `task_tokens`: the reference's seven, and one for expression if any."""
        return 7 + (self.num_expressions > 0)

    @property
    def feature_map_size(self) -> int:
        """`int`: Side of the fused feature map, a quarter of `image_size`."""
        return self.image_size // 4

    def validate_architecture(self) -> None:
        """Part of the `@strict` validation.

        Raises:
            `ValueError`:
                If landmarks cannot be mirrored as `use_mirror` asks, or `hidden_size` or
                `image_size` cannot be divided as the decoder needs it.
        """
        inner = self.num_attention_heads * self.attention_downsample_rate
        if self.hidden_size % 8 or self.hidden_size % inner:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be divisible by 8 and by num_attention_heads "
                f"* attention_downsample_rate = {inner}. Choose another width or number of heads."
            )
        if self.use_mirror and self.num_landmarks != 68:
            raise ValueError(
                "use_mirror knows the mirrored order of 68 landmarks, not of "
                f"{self.num_landmarks}. Switch it off."
            )
        if self.image_size % 4:
            raise ValueError(
                f"image_size={self.image_size} must be divisible by 4. Choose another size."
            )


__all__ = ["FaceXFormerConfig"]
