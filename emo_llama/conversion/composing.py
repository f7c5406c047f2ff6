"""A new EMO-LLaMA from parts: a language model, a vision tower and, if wanted, a face network.

Decides the sizes of what is made anew (Q-Former, projectors, Face Info Mining), the type of all
weights, and what the folder says of its parts. The parts themselves are taken as they are; their
weights are held once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import decoders
from torch import nn
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from emo_llama.chat import Turns, read_turns
from emo_llama.conversion.checkpoints import Tensors, compare_shapes, shapes_of
from emo_llama.conversion.face_part import PREFIX, FacePart
from emo_llama.conversion.fresh import fresh_parts
from emo_llama.conversion.parts import LanguagePart, TowerPart, licence
from emo_llama.conversion.settings import changed_config
from emo_llama.errors import DataFormatError, UsageError
from emo_llama.files import complete_folder
from emo_llama.hub.card import CardFacts, model_card, public_names
from emo_llama.hub.export import write_config, write_processor
from emo_llama.labels import FERPLUS
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    EmoLlamaImageProcessor,
    EmoLlamaProcessor,
)
from emo_llama.modeling.processing_emo_llama import PLACEHOLDERS, chat_template

__all__ = ["Composition", "compose"]

HEAD = 64
"""Width of an attention head of the fresh parts, where their width allows it."""
WIDEST = 768
"""Of the fresh Q-Former: BERT-base's."""
LAYERS = 6
"""Of the fresh Q-Former, half of BERT-base's: nothing in it is trained yet."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What a new model is put together from.

    Args:
        llm (`str`): Folder or Hub repository of a causal language model.
        vision (`str`): Folder or Hub repository of a vision tower, or of a model that has one.
        face (`str`, *optional*):
            Folder of a face network, or of a finished EMO-LLaMA; without it the new model has
            neither face network nor Face Info Mining.
        compress (`str`, *optional*, defaults to `"mean"`): As in [`EmoLlamaConfig`].
        dtype (`torch.dtype`, *optional*):
            Of all weights; by default one that loses nothing of any part.
        seed (`int`, *optional*, defaults to 0): Of what is made anew.
        changes (`dict`, *optional*):
            Fields of the configuration, those of parts with a dot.
    """

    llm: str
    vision: str
    face: str | None = None
    compress: str = "mean"
    dtype: torch.dtype | None = None
    seed: int = 0
    changes: dict[str, Any] = field(default_factory=dict)


def compose(composition: Composition, out: Path) -> list[str]:
    """Writes a new EMO-LLaMA folder.

    Args:
        composition ([`Composition`]): The parts.
        out (`Path`): The folder to write; it must not exist, or be empty.

    Returns:
        `list[str]`: What was done, a line each.

    Raises:
        ModelNotFoundError: A part is not there.
        InputNotFoundError: A file of a part is missing.
        DataFormatError: A part is of another kind than is wanted, or damaged.
        UsageError: `out` holds something already, or a change names no field.
    """
    with complete_folder(out) as folder:
        llm, tower = LanguagePart(composition.llm), TowerPart(composition.vision)
        face = None if composition.face is None else FacePart.read(composition.face)
        config = _config(composition, llm, tower, face)
        turns = read_turns(llm.tokenizer)
        model = _assemble(composition, config, llm, tower, face)
        model.generation_config = _generation_config(model.generation_config, llm, turns)
        model.generation_config.suppress_tokens = config.placeholder_ids
        model.save_pretrained(folder)
        write_config(model.config, folder)
        write_processor(_processor(model.config, llm.tokenizer, tower, face, turns), folder)
        table, common = _licences(composition, llm, tower, face)
        facts = CardFacts(base_model=public_names(composition.llm, composition.vision))
        card = model_card(out.name, model.config, model.num_parameters(), facts)
        if common:
            card = card.replace("tags:\n", f"license: {common}\ntags:\n", 1)
        (folder / "README.md").write_text(card + table, encoding="utf-8")
    return _notes(model.config, turns)


def _config(
    composition: Composition, llm: LanguagePart, tower: TowerPart, face: FacePart | None
) -> EmoLlamaConfig:
    """The parts settle most; fresh parts get widths that suit them."""
    image_id, video_id = map(llm.tokenizer.convert_tokens_to_ids, PLACEHOLDERS)
    parts: dict[str, Any] = {
        "vision_config": tower.settings(),
        "text_config": llm.settings(),
        "face_config": None if face is None else face.config,
        "compress": composition.compress,
        "image_token_id": image_id,
        "video_token_id": video_id,
        "id2label": dict(enumerate(FERPLUS)),
    }
    try:
        width = min(WIDEST, EmoLlamaConfig(**parts).vision_hidden_size)
    except (StrictDataclassError, ValueError) as error:
        raise UsageError(f"--compress {composition.compress}: {error}") from error
    parts["qformer_config"] = _sizes(width) | {
        "num_hidden_layers": LAYERS,
        "vocab_size": 1 + max(llm.tokenizer.get_vocab().values()),
        "pad_token_id": llm.tokenizer.pad_token_id,
    }
    if face is not None:
        parts["fim_config"] = _sizes(face.config.hidden_size)
    return changed_config(parts, composition.changes)


def _sizes(width: int) -> dict[str, int]:
    """Sizes of a transformer of some width: heads as wide as usual, or as divides it."""
    heads = max(1, width // HEAD)
    while width % heads:
        heads -= 1
    return {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width}


def _assemble(
    composition: Composition,
    config: EmoLlamaConfig,
    llm: LanguagePart,
    tower: TowerPart,
    face: FacePart | None,
) -> EmoLlamaForConditionalGeneration:
    """The model, its weights in one type; the modules of the parts are its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(composition.seed)
        language: Any = llm.load(composition.dtype)
        vision: Any = tower.load(composition.dtype)
    side = tower.grid_size(vision, config.vision_hidden_size)
    cells = config.compress.removeprefix("grid:")
    if cells.isdigit() and int(cells) > side:
        raise UsageError(f"--compress {config.compress}: the tower gives {side} patches a side.")
    faces = {} if face is None else face.tensors()
    dtype = composition.dtype or _widest(language, vision, faces)
    config.dtype, config.vision_grid_size = dtype, side
    with torch.device("meta"):
        model = EmoLlamaForConditionalGeneration(config)
    fresh = fresh_parts(config, ["frame_tokens", "face_info_mining"], composition.seed)
    _fill(model.model, "language_model", language.base_model.to(dtype), llm.folder)
    _fill(model.model, "vision_tower", vision.to(dtype), tower.folder)
    _fill(model, "lm_head", language.get_output_embeddings().to(dtype), llm.folder)
    if face is not None:
        wanted = shapes_of(model.model.face_model.state_dict(prefix=PREFIX))
        compare_shapes(face.folder, shapes_of(faces), wanted)
    rest = {
        key: value.to(dtype) if value.is_floating_point() else value  # norms count in integers
        for key, value in (fresh | faces).items()
    }
    model.load_state_dict(rest, strict=False, assign=True)
    model.generation_config = language.generation_config
    return model.eval()


def _fill(model: nn.Module, name: str, part: nn.Module, source: Path) -> None:
    """Puts a loaded part in the place of an empty one of the same kind."""
    place = getattr(model, name)
    if type(place) is not type(part):
        raise DataFormatError(
            f"{source}: expected {type(place).__name__}, found {type(part).__name__}. Name another "
            "model."
        )
    compare_shapes(source, shapes_of(part.state_dict()), shapes_of(place.state_dict()))
    setattr(model, name, part)


def _widest(language: PreTrainedModel, vision: PreTrainedModel, faces: Tensors) -> torch.dtype:
    """The smallest type that holds the weights of all parts exactly."""
    dtype = torch.promote_types(language.dtype, vision.dtype)
    for tensor in faces.values():
        if tensor.is_floating_point():
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _processor(
    config: EmoLlamaConfig,
    tokenizer: PreTrainedTokenizerBase,
    tower: TowerPart,
    face: FacePart | None,
    turns: Turns | None,
) -> EmoLlamaProcessor:
    """The tower's own pictures, the language model's own way of writing a conversation."""
    tokenizer.chat_template = None  # it is the processor's now
    if turns is None or turns.space:
        _strip_answers(tokenizer)
    faces = {"do_face_crop": False} if face is None else face.image_settings()
    markers = {}
    if turns is not None:
        markers = {"user_marker": turns.user, "assistant_marker": turns.assistant}
    return EmoLlamaProcessor(
        image_processor=EmoLlamaImageProcessor(**tower.image_settings, **faces),
        tokenizer=tokenizer,
        qformer_tokenizer=tokenizer,
        chat_template=chat_template(system_prompt="") if turns is None else turns.template(),
        num_tokens_per_frame=config.num_tokens_per_frame,
        max_question_length=min(256, config.qformer_config.max_position_embeddings),
        **markers,
    )


def _strip_answers(tokenizer: PreTrainedTokenizerBase) -> None:
    """Leaves out the space that a template puts before an answer where the answer is decoded.

    Llama's tokenizers do so by themselves; those on bytes keep it in the first word.
    """
    space = tokenizer(" a", add_special_tokens=False)["input_ids"]
    if tokenizer.is_fast and str(tokenizer.decode(space)).startswith(" "):
        backend = tokenizer.backend_tokenizer
        backend.decoder = decoders.Sequence([backend.decoder, decoders.Strip(" ", 1, 0)])


def _generation_config(
    known: GenerationConfig, llm: LanguagePart, turns: Turns | None
) -> GenerationConfig:
    """The language model's own, which also stops at the token that ends an answer."""
    ends = known.eos_token_id if known.eos_token_id is not None else []
    ends = list(ends) if isinstance(ends, list) else [ends]
    end = llm.tokenizer.eos_token if turns is None else turns.end_token
    number = llm.tokenizer.convert_tokens_to_ids(str(end))
    try:
        known.validate(strict=True)
    except ValueError:  # some cards hold settings that contradict each other
        known = GenerationConfig(bos_token_id=llm.tokenizer.bos_token_id)
    known.eos_token_id = ends if number in ends else [number, *ends]
    known.pad_token_id = llm.tokenizer.pad_token_id
    return known


def _licences(
    composition: Composition, llm: LanguagePart, tower: TowerPart, face: FacePart | None
) -> tuple[str, str | None]:
    """What the card says of the parts, and the licence that all of them share, if any."""
    parts = [("language model", llm.name, llm.folder), ("vision tower", tower.name, tower.folder)]
    if face is not None:
        name = face.folder.name if Path(str(composition.face)).exists() else str(composition.face)
        parts.append(("face network", name, face.folder))
    stated = [licence(folder) for _, _, folder in parts]
    rows = [
        f"| {part} | {name} | {text or 'unknown: look it up'} |"
        for (part, name, _), text in zip(parts, stated, strict=True)
    ]
    table = "\n".join(["| part | from | licence |", "|---|---|---|", *rows])
    common = stated[0] if len(set(stated)) == 1 else None
    return _LICENCES.format(table=table), common


_LICENCES = """
## Parts and their licences

{table}

The licences are what the cards of the parts state; read their texts before you rely on them. The
parts are as they were. The Q-Former, the projectors and, where there is a face network, the Face
Info Mining module are untrained: until this model is tuned, its answers do not follow the picture.
"""


def _notes(config: EmoLlamaConfig, turns: Turns | None) -> list[str]:
    fresh = "Q-Former, projectors"
    notes = [f"type of all weights: {str(config.dtype).removeprefix('torch.')}"]
    if config.face_config is None:
        notes.append("no --face: neither a face network nor Face Info Mining")
    elif config.num_face_tokens:
        fresh += ", Face Info Mining"
    if config.face_config is not None and "landmarks" in config.face_config.untrained_heads:
        fresh += ", all of the face network but its backbone"
    known = "that of the language model" if turns is not None else "this family's own (USER:)"
    return [*notes, f"chat template: {known}", f"fresh, to be tuned: {fresh}"]
