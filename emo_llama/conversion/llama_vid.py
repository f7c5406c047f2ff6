"""A LLaMA-VID folder as a model of this project: weights, configuration, tokenizers, code.

Shards are converted one at a time, so that memory stays near one shard. The Face Info Mining module
is made anew; the face network comes from its own folder.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from emo_llama.conversion.checkpoints import (
    Shapes,
    ShardWriter,
    Tensors,
    compare_shapes,
    read_shards,
    shapes_of,
    shard_files,
    some,
)
from emo_llama.conversion.face_part import FacePart
from emo_llama.conversion.fresh import fresh_parts
from emo_llama.conversion.llama_vid_config import QFORMER, TOWER, emo_llama_config
from emo_llama.conversion.llama_vid_keys import convert_llama_vid_state_dict, has_no_place
from emo_llama.conversion.lora import LoraUpdate
from emo_llama.errors import DataFormatError, InputNotFoundError
from emo_llama.files import complete_folder
from emo_llama.hub.card import model_card
from emo_llama.hub.export import write_config, write_processor
from emo_llama.labels import FERPLUS
from emo_llama.loading import READING
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    EmoLlamaImageProcessor,
    EmoLlamaProcessor,
)
from emo_llama.modeling.processing_emo_llama import (
    PLACEHOLDERS,
    VICUNA_SYSTEM_PROMPT,
    chat_template,
)

__all__ = ["LlamaVidParts", "convert_llama_vid"]

BIASES = (".attn.q_bias", ".attn.v_bias")
ATTENTION = "model.vlm_att_"
EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class LlamaVidParts:
    """What a conversion reads beside the checkpoint.

    Args:
        vision_tower (`Path`, *optional*):
            `eva_vit_g.pth`; needed where the shards hold no tower.
        face_model (`Path`, *optional*):
            A folder that `emo-llama convert facexformer` wrote.
        has_face (`bool`, *optional*, defaults to `True`):
            Whether there is a face network: without `face_model` the embedded model's.
        base (`Path`, *optional*):
            The folder that a LoRA checkpoint changes.
        qformer_tokenizer (`Path`, *optional*):
            A folder with BERT's tokenizer.
        extra (`list[Path]`, *optional*):
            More weight files, for what the shards lack.
    """

    vision_tower: Path | None = None
    face_model: Path | None = None
    has_face: bool = True
    base: Path | None = None
    qformer_tokenizer: Path | None = None
    extra: list[Path] = field(default_factory=list)


def convert_llama_vid(
    checkpoint: Path,
    out: Path,
    parts: LlamaVidParts | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    ignore_unplaced: bool = False,
    changes: dict[str, Any] | None = None,
) -> list[str]:
    """Writes an EMO-LLaMA folder from a LLaMA-VID folder.

    Args:
        checkpoint (`Path`):
            A folder with `config.json` and shards (`.bin` or safetensors), or a LoRA folder with
            `adapter_config.json`.
        out (`Path`):
            The folder to write; it must not exist, or be empty.
        parts ([`LlamaVidParts`], *optional*):
            What else is read.
        dtype (`torch.dtype`, *optional*):
            Of all weights; that of the checkpoint's token embedding by default.
        seed (`int`, *optional*, defaults to 0):
            Of the fresh Face Info Mining module.
        ignore_unplaced (`bool`, *optional*, defaults to `False`):
            Whether keys that have no place here are left out instead of stopping.
        changes (`dict`, *optional*):
            Fields of the configuration that shapes do not tell.

    Returns:
        `list[str]`: What was done, a line each.

    Raises:
        InputNotFoundError: A file is missing.
        DataFormatError: A file is damaged; keys are missing, without a place or of other shapes.
        UsageError: `out` holds something already.
    """
    parts = parts or LlamaVidParts()
    source = _Source(checkpoint, parts, ignore_unplaced)
    face = _face(parts)
    face_config = None if face is None else face.config
    config = emo_llama_config(source.config, source.shapes, FERPLUS, face_config, changes or {})
    config.dtype = dtype = dtype or source.dtype
    with complete_folder(out) as folder:
        writer = ShardWriter(folder, dtype)
        for shard in source.converted():
            writer.write(shard)
        if face is not None:
            writer.write(face.tensors() | fresh_parts(config, ["face_info_mining"], seed))
        with torch.device("meta"):  # 7B of names and shapes, without their memory
            wanted = shapes_of(EmoLlamaForConditionalGeneration(config).state_dict())
        compare_shapes(checkpoint, writer.shapes(), wanted)
        writer.finish()
        _write_config(config, folder, out.name, writer.shapes())
        done = source.notes + _write_processor(config, source.folder, parts, folder)
    return [*done, f"fresh: {'Face Info Mining' if config.num_face_tokens else 'nothing'}"]


class _Source:
    """The tensors of a checkpoint, one shard at a time, and what is known of all of them."""

    def __init__(self, checkpoint: Path, parts: LlamaVidParts, ignore_unplaced: bool) -> None:
        self.notes: list[str] = []
        self.update = LoraUpdate.read(checkpoint, parts.base)
        self.folder = checkpoint if self.update is None else Path(str(parts.base))
        self.config = _read_config(checkpoint)
        self.files = [*shard_files(self.folder), *parts.extra]
        self.tower = parts.vision_tower
        # A first pass over the keys; no number is read, and nothing merged.
        self.shapes: Shapes = {}
        self.dtype: torch.dtype | None = None
        for shard in self._shards(only_shapes=True):
            self.shapes |= shapes_of(shard)
            if EMBEDDING in shard:
                self.dtype = shard[EMBEDDING].dtype
        self._check(checkpoint, ignore_unplaced)

    def converted(self) -> Iterator[Tensors]:
        """Each shard under our names; the biases of a layer wait for each other."""
        biases: Tensors = {}  # q_bias and v_bias become one tensor, and may lie in two shards
        for shard in self._shards():
            ready: Tensors = {}
            for key, tensor in shard.items():
                (biases if key.endswith(BIASES) else ready)[key] = tensor
            whole = {
                key
                for key in biases
                if all(f"{key.rsplit('.', 1)[0]}.{name}" in biases for name in ("q_bias", "v_bias"))
            }
            ready |= {key: biases.pop(key) for key in sorted(whole)}
            ready = {key: tensor for key, tensor in ready.items() if not has_no_place(key)}
            yield convert_llama_vid_state_dict(ready)

    def _shards(self, only_shapes: bool = False) -> Iterator[Tensors]:
        has_tower = False
        for shard in read_shards(self.files, only_shapes):
            has_tower = has_tower or any(key.startswith(TOWER) for key in shard)
            if only_shapes:  # an update then merges nothing either
                shard = {key: tensor.to("meta") for key, tensor in shard.items()}
            yield shard if self.update is None else self.update.apply(shard)
        if self.update is not None and (rest := self.update.rest()):
            has_tower = has_tower or any(key.startswith(TOWER) for key in rest)
            yield rest
        if not has_tower and self.tower is not None:
            yield self._tower_shard(self.tower, only_shapes)

    def _tower_shard(self, path: Path, only_shapes: bool) -> Tensors:
        """The published tower without its last block, which LLaMA-VID never runs."""
        (shard,) = read_shards([path], only_shapes)
        blocks = {int(key.split(".")[1]) for key in shard if key.startswith("blocks.")}
        if not blocks:
            raise DataFormatError(
                f"{path}: expected EVA's vision tower (blocks.0 and so on). Name eva_vit_g.pth."
            )
        last = f"blocks.{max(blocks)}."
        used = ("cls_token", "pos_embed", "patch_embed.", "blocks.")
        kept = {
            f"{TOWER}{key}": tensor
            for key, tensor in shard.items()
            if key.startswith(used) and not key.startswith(last)
        }
        left = len(shard) - len(kept)
        note = f"vision tower: {path.name}, its last block and {left:,} tensors in all left out"
        # both passes come here; the second must not say it again
        self.notes = [*(line for line in self.notes if line != note), note]
        return kept

    def _check(self, checkpoint: Path, ignore_unplaced: bool) -> None:
        """Says what is missing or has no place before anything is written."""
        if not any(key.startswith(TOWER) for key in self.shapes):
            raise DataFormatError(
                f"{checkpoint}: the shards hold no vision tower. Name eva_vit_g.pth by "
                "--vision-tower."
            )
        names = ("ln", "projector", "key_projector", "val_projector")
        wanted = [f"{ATTENTION}query"]
        wanted += [f"{ATTENTION}{name}.{kind}" for name in names for kind in ("weight", "bias")]
        wanted += [
            f"{QFORMER}embeddings.{name}.weight" for name in ("word_embeddings", "LayerNorm")
        ]
        missing = [key for key in wanted if key not in self.shapes]
        if missing:
            raise DataFormatError(
                f"{checkpoint}: {len(missing)} keys of the text-guided frame tokens are missing: "
                f"{', '.join(missing)}. Without them answers would be noise. Name a file that "
                "holds them by --extra, or another checkpoint."
            )
        unplaced = [key for key in self.shapes if has_no_place(key)]
        if unplaced and not ignore_unplaced:
            raise DataFormatError(
                f"{checkpoint}: {len(unplaced)} keys have no place in EMO-LLaMA: {some(unplaced)}. "
                "Leave them out by --ignore-unplaced."
            )
        if unplaced:
            self.notes.append(f"left out: {some(unplaced)}")
        if not any(note.startswith("vision tower") for note in self.notes):
            self.notes.append("vision tower: from the shards")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputNotFoundError(f"{folder}: no config.json. Name the folder of a LLaMA-VID model.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config["hidden_size"], config["num_attention_heads"]  # noqa: B018
    except (ValueError, KeyError, TypeError) as error:
        raise DataFormatError(
            f"{path}: expected a Llama configuration ({error!r}). Fetch the file again."
        ) from error
    return config


def _face(parts: LlamaVidParts) -> FacePart | None:
    return FacePart.read(parts.face_model) if parts.has_face else None


def _write_config(config: EmoLlamaConfig, folder: Path, name: str, shapes: Shapes) -> None:
    """Configuration, code and card."""
    config.architectures = [EmoLlamaForConditionalGeneration.__name__]
    write_config(config, folder)
    card = model_card(name, config, sum(map(math.prod, shapes.values())))
    (folder / "README.md").write_text(card + _LICENCE, encoding="utf-8")


def _write_processor(
    config: EmoLlamaConfig, source: Path, parts: LlamaVidParts, folder: Path
) -> list[str]:
    """The processor, or what it would need."""
    lacking = []
    if not any((source / file).is_file() for file in ("tokenizer.model", "tokenizer.json")):
        lacking.append(f"no tokenizer in {source}")
    if parts.qformer_tokenizer is None:
        lacking.append("no --qformer-tokenizer (the folder of bert-base-uncased's)")
    if lacking:
        return [f"no processor was written: {'; '.join(lacking)}"]
    write_processor(_processor(config, source, parts), folder)
    return ["processor: Vicuna's prompt"]


_LICENCE = """
## Licences of these weights

LLaMA-VID's weights are CC BY-NC 4.0, and so is what is made from them: no commercial use. Vicuna is
bound by the Llama 2 licence. FaceXFormer's weights are MIT. The Face Info Mining module here is
untrained.
"""


def _processor(config: EmoLlamaConfig, source: Path, parts: LlamaVidParts) -> EmoLlamaProcessor:
    """The processor, its pictures as LLaMA-VID's training saw them."""
    images: dict[str, Any] = {"size": config.vision_config.image_size}
    face = _face(parts)
    images |= {"do_face_crop": False} if face is None else face.image_settings()
    bert = AutoTokenizer.from_pretrained(str(parts.qformer_tokenizer), **READING)
    return EmoLlamaProcessor(
        image_processor=EmoLlamaImageProcessor(**images),
        tokenizer=llama_tokenizer(source, config),
        qformer_tokenizer=bert,
        # LLaMA-VID tokenizes what stands before and behind a picture on its own, and a Llama
        # tokenizer begins a text with a space, though not behind a special token.
        chat_template=chat_template(f" {VICUNA_SYSTEM_PROMPT}"),
        placeholder_suffix=" ",
        num_tokens_per_frame=config.num_tokens_per_frame,
        max_question_length=min(256, config.qformer_config.max_position_embeddings),
    )


def llama_tokenizer(source: Path, config: EmoLlamaConfig) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer with both placeholders behind its vocabulary.

    Args:
        source (`Path`): The checkpoint's folder.
        config ([`EmoLlamaConfig`]): Tells which ids the placeholders must have.

    Returns:
        `PreTrainedTokenizerBase`: The tokenizer.

    Raises:
        DataFormatError: Its vocabulary is not that of the weights.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(source), **READING)
    tokenizer.add_tokens(list(PLACEHOLDERS), special_tokens=True)
    known = tokenizer.get_vocab()
    found = [known[token] for token in PLACEHOLDERS]
    if found != [config.image_token_id, config.video_token_id]:
        raise DataFormatError(
            f"{source}: the tokenizer has {found[0]:,} tokens and the embedding "
            f"{config.image_token_id:,} rows. Put the checkpoint's own tokenizer beside it."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token  # as Vicuna's training did
    return tokenizer
