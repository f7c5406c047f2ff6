"""The published FaceXFormer weights in the format of this project.

Decides which tensor of the reference goes where, and which configuration the shapes tell.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from emo_llama.conversion.checkpoints import (
    ShardWriter,
    Tensors,
    compare_shapes,
    read_shard,
    shapes_of,
)
from emo_llama.errors import DataFormatError, UsageError
from emo_llama.files import complete_folder
from emo_llama.hub.export import FACE_AUTO_MAP, travelling_files
from emo_llama.modeling import EmoLlamaImageProcessor, FaceXFormerConfig, FaceXFormerModel

__all__ = [
    "changed_face_config",
    "convert_facexformer",
    "convert_facexformer_state_dict",
    "face_config",
    "write_face_model",
]

KEY = "state_dict_backbone"
REFERENCE_HEADS = 8

_CARD = """---
library_name: transformers
license: mit
tags:
- custom_code
---

# FaceXFormer

The published weights of [FaceXFormer](https://arxiv.org/abs/2403.12960) (MIT), converted by
`emo-llama convert facexformer`; `AutoModel.from_pretrained(folder, trust_remote_code=True)` loads
them. Input: a face crop of 224 pixels, the box grown by half, ImageNet's mean and deviation.
"""

# In the order in which the reference concatenates them; the mask tokens follow.
_TOKENS = ("landmarks", "pose", "attribute", "visibility", "age", "gender", "race")
# The backbone is torchvision's Swin, whose parts are numbered: 0.0 cuts patches, odd numbers behind
# are stages of blocks, even ones merge patches between them.
_RULES = (
    (r"^backbone\.0\.0\.0\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.0\.2\.", "backbone.embeddings.norm."),
    (r"^backbone\.1\.", "backbone.layernorm."),
    (r"^linear_c\.(\d)\.proj\.", r"fusion.projections.\1."),
    (r"^linear_fuse\.", "fusion.fuse."),
    (r"^pe_layer\.positional_encoding_gaussian_matrix$", "position_embedding.gaussian_matrix"),
    (r"^face_decoder\.transformer\.(layers\.\d+)\.mlp\.", r"decoder.\1."),
    (r"^face_decoder\.transformer\.", "decoder."),
    (r"^face_decoder\.landmarks_prediction_head\.", "landmark_head."),
    (r"^face_decoder\.(\w+)_prediction_head\.", r"\1_head."),
    (r"^face_decoder\.output_hypernetwork_mlps\.", "segmentation_head.mlp."),
    (r"^face_decoder\.output_upscaling\.0\.", "segmentation_head.upscale1."),
    (r"^face_decoder\.output_upscaling\.1\.", "segmentation_head.norm."),
    (r"^face_decoder\.output_upscaling\.3\.", "segmentation_head.upscale2."),
)
_BLOCK_RULES = (
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("attn.proj.", "attention.o_proj."),
    (
        "attn.relative_position_bias_table",
        "attention.relative_position_bias.relative_position_bias_table",
    ),
    ("mlp.0.", "mlp.fc1."),
    ("mlp.3.", "mlp.fc2."),
)


def convert_facexformer_state_dict(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames the reference's tensors to the names of [`FaceXFormerModel`].

    Fused query-key-value weights are split.

    Args:
        state_dict (`dict[str, torch.Tensor]`):
            The content of `state_dict_backbone` of the published file.

    Returns:
        `dict[str, torch.Tensor]`:
            The same numbers under our names. Relative position indices, which are no
        weights, are left out.

    Raises:
        `KeyError`: If a task token is missing.
    """
    tokens = [state_dict[f"face_decoder.{name}_token.weight"] for name in _TOKENS]
    converted = {
        "decoder.tokens": torch.cat([*tokens, state_dict["face_decoder.mask_tokens.weight"]])
    }
    for key, value in state_dict.items():
        if not key.endswith(("relative_position_index", "_token.weight", "mask_tokens.weight")):
            converted |= _convert_block(key, value) or {_rename(key): value}
    return converted


def _rename(key: str) -> str:
    for pattern, replacement in _RULES:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key


def _convert_block(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """Tensors of a Swin stage (odd: blocks, even: patch merging); nothing for any other key."""
    if (merging := re.match(r"^backbone\.0\.([246])\.(norm|reduction)\.(.+)$", key)) is not None:
        stage = int(merging[1]) // 2 - 1
        return {f"backbone.encoder.layers.{stage}.downsample.{merging[2]}.{merging[3]}": value}
    if (block := re.match(r"^backbone\.0\.([1357])\.(\d+)\.(.+)$", key)) is None:
        return {}
    prefix, rest = f"backbone.encoder.layers.{int(block[1]) // 2}.blocks.{block[2]}.", block[3]
    if rest.startswith("attn.qkv."):
        kind = rest.removeprefix("attn.qkv.")  # weight (3C, C) or bias (3C,): q, k, v in turn
        parts = zip("qkv", value.chunk(3), strict=True)
        # clones, since safetensors writes no two tensors that share memory
        return {f"{prefix}attention.{name}_proj.{kind}": part.clone() for name, part in parts}
    for old, new in _BLOCK_RULES:
        rest = rest.replace(old, new) if rest.startswith(old) else rest
    return {prefix + rest: value}


def convert_facexformer(
    checkpoint: Path, out: Path, dtype: torch.dtype | None = None, **changes: Any
) -> Path:
    """Writes the published file as a folder that `AutoModel` loads.

    Args:
        checkpoint (`Path`):
            The published `model.pt` (`torch.load` with `weights_only`), or the same tensors as
            safetensors.
        out (`Path`):
            The folder to write; it must not exist, or be empty.
        dtype (`torch.dtype`, *optional*):
            Of the weights; as they are by default.
        changes (`dict`, *optional*):
            Fields of [`FaceXFormerConfig`] that shapes do not tell, as `num_attention_heads`.

    Returns:
        `Path`: The folder.

    Raises:
        InputNotFoundError: There is no such file.
        DataFormatError: It holds no FaceXFormer, or keys are missing, left over or of other shapes.
        UsageError: `out` holds something already, or a change names no field.
    """
    content = read_shard(checkpoint)
    tensors = content.get(KEY, content) if isinstance(content, dict) else {}
    if not any(str(key).startswith("face_decoder.") for key in tensors):
        raise DataFormatError(
            f"{checkpoint}: expected FaceXFormer's weights under {KEY!r}, found "
            f"{', '.join(map(str, list(tensors)[:3])) or 'nothing'}. Name the published model.pt."
        )
    try:
        config = face_config(tensors, **changes)
        converted = convert_facexformer_state_dict(tensors)
    except KeyError as error:
        raise DataFormatError(
            f"{checkpoint}: the key {error} is missing. Fetch the file again."
        ) from error
    with torch.device("meta"):  # shapes without the memory of a second network
        wanted = FaceXFormerModel(config).state_dict()
    compare_shapes(checkpoint, shapes_of(converted), shapes_of(wanted))
    return write_face_model(out, config, converted, _CARD, dtype)


def changed_face_config(values: Mapping[str, Any], changes: Mapping[str, Any]) -> FaceXFormerConfig:
    """The configuration of a face network with some fields set otherwise.

    Args:
        values (`Mapping[str, Any]`): What the checkpoint tells.
        changes (`Mapping[str, Any]`): Fields that a user sets.

    Returns:
        [`FaceXFormerConfig`]: The configuration.

    Raises:
        UsageError: A change names no field, or its value cannot be meant.
    """
    unknown = sorted(set(changes) - set(FaceXFormerConfig().to_dict()))
    if unknown:
        raise UsageError(f"--set {unknown[0]}: no such field. Name one of FaceXFormerConfig.")
    try:
        return FaceXFormerConfig(**(dict(values) | dict(changes)))
    except (StrictDataclassError, ValueError, TypeError) as error:
        said = ", ".join(f"{key}={value}" for key, value in changes.items())
        raise UsageError(f"--set {said}: the configuration does not take this: {error}") from error


def write_face_model(
    out: Path,
    config: FaceXFormerConfig,
    tensors: Tensors,
    card: str,
    dtype: torch.dtype | None = None,
    image_processor: EmoLlamaImageProcessor | None = None,
) -> Path:
    """Writes a face network as a folder that `AutoModel` loads with its own code.

    Args:
        out (`Path`): The folder to write; it must not exist, or be empty.
        config ([`FaceXFormerConfig`]): Of the network.
        tensors (`dict[str, torch.Tensor]`): The weights, by the names of [`FaceXFormerModel`].
        card (`str`): The model card.
        dtype (`torch.dtype`, *optional*): Of the weights; as they are by default.
        image_processor ([`EmoLlamaImageProcessor`], *optional*):
            How crops are prepared, where it is not as FaceXFormer does.

    Returns:
        `Path`: The folder.

    Raises:
        UsageError: `out` holds something already, or cannot be written.
    """
    with complete_folder(out) as folder:
        writer = ShardWriter(folder, dtype)
        writer.write(tensors)
        writer.finish()
        config.auto_map = dict(FACE_AUTO_MAP)
        config.architectures = [FaceXFormerModel.__name__]
        config.save_pretrained(folder)
        if image_processor is not None:
            image_processor.save_pretrained(folder)
        for path in travelling_files():
            if path.stem.endswith("_facexformer"):
                shutil.copyfile(path, folder / path.name)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def face_config(tensors: Tensors, **changes: Any) -> FaceXFormerConfig:
    """The configuration that the shapes of the reference's tensors tell.

    The heads of the decoder leave no trace in them: the reference's eight are taken, or fewer where
    a head would be less than 4 wide.

    Args:
        tensors (`dict[str, torch.Tensor]`): By the reference's keys.
        changes (`dict`, *optional*): Fields to set otherwise.

    Returns:
        [`FaceXFormerConfig`]: For 224-pixel crops.

    Raises:
        KeyError: A tensor is missing.
    """
    blocks = [re.match(r"backbone\.0\.([1357])\.(\d+)\.norm1\.weight$", key) for key in tensors]
    stages = [match[1] for match in blocks if match]
    tables = [
        tensors[f"backbone.0.{stage}.0.attn.relative_position_bias_table"] for stage in "1357"
    ]
    layer = "face_decoder.transformer.layers.0."
    inner, width = tensors[f"{layer}cross_attn_token_to_image.q_proj.weight"].shape
    decoder = {re.match(r"face_decoder\.transformer\.layers\.(\d+)", key) for key in tensors}
    first = tensors["backbone.0.1.0.mlp.0.weight"]
    values = {
        "backbone_config": {
            "model_type": "swin",
            "image_size": 224,
            "embed_dim": tensors["backbone.0.0.0.weight"].shape[0],
            "depths": [stages.count(stage) for stage in "1357"],
            "num_heads": [table.shape[1] for table in tables],
            # a window of w has offsets from 1 - w to w - 1 each way: (2w - 1) ** 2 rows
            "window_size": (round(tables[0].shape[0] ** 0.5) + 1) // 2,
            "mlp_ratio": first.shape[0] / first.shape[1],
            "drop_path_rate": 0.5,  # torchvision's for Swin-B; leaves no trace in weights
        },
        "hidden_size": width,
        "mlp_dim": tensors[f"{layer}mlp.lin1.weight"].shape[0],
        "attention_downsample_rate": width // inner,
        "num_attention_heads": min(REFERENCE_HEADS, inner // 4),
        "num_decoder_layers": len({match[1] for match in decoder if match}),
        "num_segmentation_classes": tensors["face_decoder.mask_tokens.weight"].shape[0],
    }
    return changed_face_config(values, changes)
