"""Key names of the published FaceXFormer weights, mapped to ours.

Decides which tensor of the reference goes where. It leaves out reading files and writing folders.
"""

import re

import torch

_TOKENS = ("landmarks", "pose", "attribute", "visibility", "age", "gender", "race")
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
        kind = rest.removeprefix("attn.qkv.")
        parts = zip("qkv", value.chunk(3), strict=True)
        return {f"{prefix}attention.{name}_proj.{kind}": part.clone() for name, part in parts}
    for old, new in _BLOCK_RULES:
        rest = rest.replace(old, new) if rest.startswith(old) else rest
    return {prefix + rest: value}
