"""Key names of LLaMA-VID's weights, mapped to ours.

Decides which tensor of the reference goes where, fuses the tower's query and value biases and adds
the two placeholder tokens, which LLaMA-VID keeps outside its vocabulary. It leaves out reading
files and writing folders.
"""

import re

import torch

__all__ = ["convert_llama_vid_state_dict", "has_no_place"]

_TOWER = "model.vision_tower.vision_tower."
_QFORMER = "model.vlm_att_encoder.bert."
_OURS = "model.frame_tokens."
_RULES = (
    (r"^model\.(embed_tokens|layers|norm)\.", r"model.language_model.\1."),
    (r"^lm_head\.", "lm_head."),
    (r"^model\.mm_projector\.0\.", f"{_OURS}content_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", f"{_OURS}content_projector.linear_2."),
    (r"^model\.vlm_att_query$", f"{_OURS}query_tokens"),
    (r"^model\.vlm_att_ln\.", f"{_OURS}norm."),
    (r"^model\.vlm_att_projector\.", f"{_OURS}query_projection."),
    (r"^model\.vlm_att_key_projector\.", f"{_OURS}key_projection."),
    (r"^model\.vlm_att_val_projector\.", f"{_OURS}value_projection."),
    (rf"^{re.escape(_QFORMER)}embeddings\.LayerNorm\.", f"{_OURS}qformer.embeddings.layernorm."),
    (
        rf"^{re.escape(_QFORMER)}(encoder\.layer\.\d+\.(?:cross)?attention)\.self\.",
        rf"{_OURS}qformer.\1.attention.",
    ),
    (rf"^{re.escape(_QFORMER)}", f"{_OURS}qformer."),
    (rf"^{re.escape(_TOWER)}cls_token$", "model.vision_tower.embeddings.class_embedding"),
    (rf"^{re.escape(_TOWER)}pos_embed$", "model.vision_tower.embeddings.position_embedding"),
    (
        rf"^{re.escape(_TOWER)}patch_embed\.proj\.",
        "model.vision_tower.embeddings.patch_embedding.",
    ),
    (
        rf"^{re.escape(_TOWER)}blocks\.(\d+)\.norm([12])\.",
        r"model.vision_tower.encoder.layers.\1.layer_norm\2.",
    ),
    (
        rf"^{re.escape(_TOWER)}blocks\.(\d+)\.attn\.proj\.",
        r"model.vision_tower.encoder.layers.\1.self_attn.projection.",
    ),
    (
        rf"^{re.escape(_TOWER)}blocks\.(\d+)\.attn\.qkv\.",
        r"model.vision_tower.encoder.layers.\1.self_attn.qkv.",
    ),
    (
        rf"^{re.escape(_TOWER)}blocks\.(\d+)\.mlp\.",
        r"model.vision_tower.encoder.layers.\1.mlp.",
    ),
)
_BIAS = re.compile(rf"^{re.escape(_TOWER)}blocks\.(\d+)\.attn\.q_bias$")
_NO_WEIGHT = (".rotary_emb.inv_freq", ".embeddings.position_ids", ".attn.v_bias")


def convert_llama_vid_state_dict(
    state_dict: dict[str, torch.Tensor], num_new_tokens: int = 2
) -> dict[str, torch.Tensor]:
    """Rename LLaMA-VID's tensors to the names of [`EmoLlamaForConditionalGeneration`].

    Args:
        state_dict (`dict[str, torch.Tensor]`):
            A complete checkpoint, tower included.
        num_new_tokens (`int`, *optional*, defaults to 2):
            Rows added at the end of the embedding and the head for the placeholders; each is the
            mean of the rows before.

    Returns:
        `dict[str, torch.Tensor]`: The same numbers under our names, without the face network and
        the Face Info Mining module. Buffers that are no weights are left out.

    Raises:
        ValueError: Some keys have no place in our model; the message names them.

    Example:
    ```python
    >>> import torch
    >>> from emo_llama.conversion.llama_vid_keys import convert_llama_vid_state_dict

    >>> convert_llama_vid_state_dict({"lm_head.weight": torch.zeros(64, 8)})["lm_head.weight"].shape
    torch.Size([66, 8])

    ```
    """
    converted, unknown = {}, []
    for key, value in state_dict.items():
        if (bias := _BIAS.match(key)) is not None:
            v_bias = state_dict[key.replace(".q_bias", ".v_bias")]
            name = f"model.vision_tower.encoder.layers.{bias[1]}.self_attn.qkv.bias"
            converted[name] = torch.cat([value, torch.zeros_like(value), v_bias])  # keys have none
        elif not key.endswith(_NO_WEIGHT):
            renamed = _rename(key)
            converted |= {renamed: value} if renamed else {}
            unknown += [] if renamed else [key]
    if unknown:
        raise ValueError(f"{len(unknown)} keys have no place in EMO-LLaMA: {', '.join(unknown)}.")
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        if name in converted:
            # the mean, as transformers begins new rows: noise would be far from all of them
            rows = converted[name].mean(dim=0, keepdim=True).expand(num_new_tokens, -1)  # (2, D)
            converted[name] = torch.cat([converted[name], rows])
    return converted


def has_no_place(key: str) -> bool:
    """Whether a key is neither a weight that we have nor a buffer that is no weight.

    Args:
        key (`str`): The reference's name.

    Returns:
        `bool`: True where the tensor could only be left out.
    """
    return not (key.endswith((*_NO_WEIGHT, ".attn.q_bias")) or _rename(key))


def _rename(key: str) -> str | None:
    """Our name for a key of the reference, or `None`."""
    for pattern, replacement in _RULES:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return None
