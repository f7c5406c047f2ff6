"""The configuration of a LLaMA-VID checkpoint, from its config.json and its tensors' shapes."""

from collections.abc import Mapping
from typing import Any

from transformers import LlamaConfig

from emo_llama.conversion.checkpoints import Shapes
from emo_llama.conversion.settings import changed_config
from emo_llama.errors import DataFormatError
from emo_llama.labels import FERPLUS
from emo_llama.modeling import EmoLlamaConfig, FaceXFormerConfig

__all__ = ["emo_llama_config", "seven_b_config"]

TOWER = "model.vision_tower.vision_tower."
QFORMER = "model.vlm_att_encoder.bert."
EVA_HEAD, BERT_HEAD = 88, 64
"""Widths of a head in EVA-CLIP-g and BERT-base: shapes do not tell how many heads there are."""
OTHER_HEADS = 4
"""Heads of a tower or Q-Former whose width is no multiple of those."""


def emo_llama_config(
    llama: Mapping[str, Any],
    shapes: Shapes,
    labels: tuple[str, ...],
    face_config: FaceXFormerConfig | None,
    changes: Mapping[str, Any],
) -> EmoLlamaConfig:
    """The configuration of the converted model.

    Args:
        llama (`Mapping[str, Any]`): The checkpoint's `config.json`.
        shapes (`dict[str, list[int]]`): Of all its tensors, the tower's among them, by their keys.
        labels (`tuple[str, ...]`): The expression labels, in order.
        face_config ([`FaceXFormerConfig`], *optional*): Of the face network; `None` for none.
        changes (`Mapping[str, Any]`):
            Fields to set otherwise, those of parts with a dot: `vision_config.num_attention_heads`.

    Returns:
        [`EmoLlamaConfig`]: With two placeholder tokens behind the vocabulary.

    Raises:
        DataFormatError: A tensor that is needed to tell a size is missing.
        UsageError: A change names no field.
    """
    try:
        parts: dict[str, Any] = {
            "vision_config": _vision(shapes),
            "qformer_config": _qformer(shapes),
            "num_query_tokens": shapes["model.vlm_att_query"][1],
        }
        vocabulary = shapes["model.embed_tokens.weight"][0]
    except KeyError as error:
        raise DataFormatError(
            f"the key {error} is missing. Name the complete checkpoint, or the file that holds it "
            "by --extra."
        ) from error
    known = LlamaConfig().to_dict().keys() | {"rope_theta", "rope_scaling"}
    text = {key: value for key, value in llama.items() if key in known and value is not None}
    # the checkpoint's own model_type is its research code's
    text |= {"model_type": "llama", "vocab_size": vocabulary + 2}
    for key in ("architectures", "torch_dtype", "dtype", "transformers_version"):
        text.pop(key, None)
    parts |= {
        "text_config": text,
        "face_config": face_config,
        "compress": _compress(llama.get("compress_type")),
        "image_token_id": vocabulary,
        "video_token_id": vocabulary + 1,
        "id2label": dict(enumerate(labels)),
    }
    return changed_config(parts, changes)


def seven_b_config() -> EmoLlamaConfig:
    """What a conversion of the published LLaMA-VID of 7B with FaceXFormer is configured as.

    Returns:
        [`EmoLlamaConfig`]: EVA-CLIP-g, BERT-base's Q-Former, Vicuna-7B, Swin-B, one content token.

    Example:
    ```python
    >>> from emo_llama.conversion.llama_vid_config import seven_b_config

    >>> seven_b_config().num_tokens_per_frame  # context, content, two of the face
    4

    ```
    """
    return EmoLlamaConfig(face_config=FaceXFormerConfig(), id2label=dict(enumerate(FERPLUS)))


def _vision(shapes: Shapes) -> dict[str, Any]:
    # (width, 3, patch, patch)
    width, _, patch, _ = shapes[f"{TOWER}patch_embed.proj.weight"]
    positions = shapes[f"{TOWER}pos_embed"][1]
    return {
        "model_type": "instructblip_vision_model",
        "hidden_size": width,
        "intermediate_size": shapes[f"{TOWER}blocks.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, f"{TOWER}blocks."),
        "num_attention_heads": _heads(width, EVA_HEAD),
        "patch_size": patch,
        # one position is the class token's, the others lie in a square
        "image_size": round((positions - 1) ** 0.5) * patch,
        "layer_norm_eps": 1e-6,
    }


def _qformer(shapes: Shapes) -> dict[str, Any]:
    words, width = shapes[f"{QFORMER}embeddings.word_embeddings.weight"]
    layer = f"{QFORMER}encoder.layer."
    looking = sorted(
        int(key.removeprefix(layer).split(".")[0])
        for key in shapes
        if key.startswith(layer) and key.endswith("crossattention.output.dense.weight")
    )
    return {
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": _count(shapes, layer),
        "num_attention_heads": _heads(width, BERT_HEAD),
        "intermediate_size": shapes[f"{layer}0.intermediate.dense.weight"][0],
        "max_position_embeddings": shapes[f"{QFORMER}embeddings.position_embeddings.weight"][0],
        # BLIP-2's Q-Former looks at the picture in every second layer only
        "cross_attention_frequency": looking[1] - looking[0] if len(looking) > 1 else 1,
    }


def _count(shapes: Shapes, prefix: str) -> int:
    numbers = {key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)}
    return len(numbers)


def _heads(width: int, usual: int) -> int:
    return width // usual if width % usual == 0 else OTHER_HEADS


def _compress(kind: str | None) -> str:
    """The reference looks for words: `grid:N` first, then `mean`; nothing is all patches."""
    if not kind:
        return "all"
    if "grid:" in kind:
        digits = kind.split("grid:", 1)[1]
        return "grid:" + "".join(digit for digit in digits if digit.isdigit())
    return "mean" if "mean" in kind else "all"
