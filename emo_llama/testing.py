"""Tiny models for tests: some ten thousand random parameters, made in code, no files.

Decides the sizes that the tests of this project, and of projects that build on it, share. Nothing
here is trained: `emo_llama/assets/emo-llama-tiny` is.
"""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from emo_llama.labels import FERPLUS
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    EmoLlamaImageProcessor,
    EmoLlamaProcessor,
    FaceXFormerConfig,
)
from emo_llama.modeling.processing_emo_llama import (
    IMAGE_TOKEN,
    PLACEHOLDERS,
    VIDEO_TOKEN,
    chat_template,
)

__all__ = ["tiny_config", "tiny_face_config", "tiny_model", "tiny_processor"]

LANGUAGE_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", *PLACEHOLDERS)
QFORMER_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
MAX_QUESTION_LENGTH = 64


def tiny_face_config(**overrides: Any) -> FaceXFormerConfig:
    """Configuration of a tiny face network with a convolutional backbone.

    Args:
        overrides (`dict`, *optional*):
            Fields of [`FaceXFormerConfig`] to set otherwise.

    Returns:
        [`FaceXFormerConfig`]: 64 px crops, width 16.

    Example:
    ```python
    >>> from emo_llama.testing import tiny_face_config

    >>> tiny_face_config(num_expressions=8).num_task_tokens
    8

    ```
    """
    values = {
        "backbone_config": _conv_config(),
        "hidden_size": 16,
        "image_size": 64,
        "num_decoder_layers": 2,
        "num_attention_heads": 2,
        "mlp_dim": 32,
    }
    return FaceXFormerConfig(**(values | overrides))


def tiny_config(conv_tower: bool = False, **overrides: Any) -> EmoLlamaConfig:
    """Configuration of a tiny model: 56 px images of 4 x 4 patches, width 16, byte-level text.

    Args:
        conv_tower (`bool`, *optional*, defaults to `False`):
            A convolutional vision tower (a 2 x 2 grid for 56 px) instead of a transformer.
        overrides (`dict`, *optional*):
            Fields of [`EmoLlamaConfig`] to set otherwise.

    Returns:
        [`EmoLlamaConfig`]: With FERPlus's label set.

    Example:
    ```python
    >>> from emo_llama.testing import tiny_config

    >>> tiny_config(compress="all").num_tokens_per_frame  # 1 context + 16 patches + 2 face
    19

    ```
    """
    values = {
        "vision_config": _conv_config() if conv_tower else _vit_config(),
        "qformer_config": {
            "vocab_size": len(QFORMER_TOKENS) + 256,
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "max_position_embeddings": MAX_QUESTION_LENGTH,
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": len(LANGUAGE_TOKENS) + 256,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        "face_config": tiny_face_config(),
        "fim_config": {
            "hidden_size": 8,
            "num_attention_heads": 2,
            "num_aggregator_layers": 1,
            "intermediate_size": 16,
            "pool_size": 4,
        },
        "num_query_tokens": 4,
        "vision_grid_size": 2 if conv_tower else None,
        "image_token_id": LANGUAGE_TOKENS.index(IMAGE_TOKEN),
        "video_token_id": LANGUAGE_TOKENS.index(VIDEO_TOKEN),
        "id2label": dict(enumerate(FERPLUS)),
    }
    return EmoLlamaConfig(**(values | overrides))


def tiny_model(config: EmoLlamaConfig | None = None, seed: int = 0) -> Any:
    """A tiny model with random weights, in evaluation mode.

    Args:
        config ([`EmoLlamaConfig`], *optional*, defaults to [`tiny_config`]'s):
            Another configuration.
        seed (`int`, *optional*, defaults to 0):
            Seed of the weights; the global generator is left as it was.

    Returns:
        [`EmoLlamaForConditionalGeneration`]: The same weights for the same seed.

    Example:
    ```python
    >>> from emo_llama.testing import tiny_model

    >>> tiny_model().num_parameters() < 100_000
    True

    ```
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmoLlamaForConditionalGeneration(config or tiny_config()).eval()


def tiny_processor(config: EmoLlamaConfig | None = None) -> EmoLlamaProcessor:
    """The processor that fits [`tiny_model`]: one token a byte, a chat template without preamble.

    Args:
        config ([`EmoLlamaConfig`], *optional*, defaults to [`tiny_config`]'s):
            The model's configuration.

    Returns:
        [`EmoLlamaProcessor`]: For 56 px images and the face network's crops.

    Example:
    ```python
    >>> from emo_llama.testing import tiny_processor

    >>> processor = tiny_processor()
    >>> processor.tokenizer.decode(processor.tokenizer("happy").input_ids)
    'happy'

    ```
    """
    config = config or tiny_config()
    has_face = config.face_config is not None
    face_size = config.face_config.image_size if has_face else 64
    return EmoLlamaProcessor(
        image_processor=EmoLlamaImageProcessor(size=56, face_size=face_size, do_face_crop=has_face),
        tokenizer=_byte_tokenizer(
            LANGUAGE_TOKENS, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        ),
        qformer_tokenizer=_qformer_tokenizer(),
        chat_template=chat_template(system_prompt=""),
        num_tokens_per_frame=config.num_tokens_per_frame,
        max_question_length=MAX_QUESTION_LENGTH,
    )


def _vit_config() -> dict[str, Any]:
    return {
        "model_type": "instructblip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
        "initializer_range": 0.02,  # transformers' default of 1e-10 makes every image look alike
    }


def _conv_config() -> dict[str, Any]:
    return {
        "model_type": "regnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "groups_width": 8,
        "layer_type": "x",
    }


def _byte_tokenizer(special_tokens: tuple[str, ...], **names: str) -> PreTrainedTokenizerFast:
    """One token a byte, after the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special_tokens, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # The space before an answer is the first token's; no text that is decoded begins with it.
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=[token for token in special_tokens if token in PLACEHOLDERS],
        **names,
    )


def _qformer_tokenizer() -> PreTrainedTokenizerFast:
    """The same with BERT's frame: [CLS] question [SEP]."""
    tokenizer = _byte_tokenizer(
        QFORMER_TOKENS,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, QFORMER_TOKENS.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
