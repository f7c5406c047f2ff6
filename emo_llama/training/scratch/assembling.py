"""A model from scratch: trains its encoders, makes its tokenizer, and puts the parts together.

Decides the order (instruction data, face network, vision tower, tokenizer, model) and where each
result lies in the work folder, so that a run that was cut off goes on behind the last finished
part. Settings come from the recipe.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from emo_llama.annotate.landmarks import from_file
from emo_llama.annotate.template import TemplateAnnotator
from emo_llama.dataset_builders.build import build_folder
from emo_llama.errors import UsageError
from emo_llama.files import complete_folder
from emo_llama.labels import FERPLUS
from emo_llama.loading import READING, find_model, load_model
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaForConditionalGeneration,
    EmoLlamaImageProcessor,
    EmoLlamaProcessor,
    FaceXFormerConfig,
    FaceXFormerModel,
)
from emo_llama.modeling.processing_emo_llama import PLACEHOLDERS, chat_template
from emo_llama.training.scratch.face_stage import FaceStage, train_face
from emo_llama.training.scratch.face_tables import (
    FaceTable,
    fairface_table,
    ferplus_table,
    landmark_cache,
)

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", *PLACEHOLDERS)


def build_from_scratch(
    scratch: dict[str, Any], data: Path, work_dir: Path, encoders: Path | None = None
) -> tuple[Path, Path]:
    """Makes everything that instruction tuning starts from.

    Args:
        scratch (`dict`):
            `face`: settings of [`FaceStage`], or a list of them, each of which goes on from the one
            before and adds to its settings. `tower`: the same for a network of which the backbone
            is kept, trained on FairFace alone, or the word `"face"` for the face network's own
            backbone. `tokenizer`: `vocab_size`. `model`: arguments of [`EmoLlamaConfig`] that the
            parts do not settle; its `face_config` may be `None`.
        data (`Path`): Folder with `ferplus/` and `fairface/`.
        work_dir (`Path`): Where the parts are kept.
        encoders (`Path`, *optional*, defaults to `work_dir`):
            Where instruction data and encoders are kept; an earlier run's are taken as they are. Or
            a finished model of this recipe, whose encoders are taken.

    Returns:
        `tuple[Path, Path]`: The untuned model's folder and that of the built instruction data.

    Raises:
        ModelNotFoundError: The backbone that the face network begins with is not there.
    """
    shared = work_dir if encoders is None else encoders
    if (shared / "config.json").is_file():
        unpack_encoders(shared, scratch, work_dir)
        shared = work_dir
    stages = face_stages(scratch["face"])
    face = shared / "face"
    if stages[0].backbone is not None and not face.exists():
        find_model(stages[0].backbone)  # before the landmarks, which take minutes
    tables = _Tables(data, shared)
    built = _once(
        shared / "ferplus", lambda out: _build_instructions(data, tables.landmarks(), out)
    )
    if not face.exists():
        _train_stages(stages, tables, shared)
    tower = face
    if scratch["tower"] != "face":
        tower = _once(shared / "tower", partial(_train_tower, scratch["tower"], tables, stages))
    base = _once(work_dir / "base", lambda out: assemble(scratch, face, tower, built, out))
    return base, built


def _train_stages(stages: list[FaceStage], tables: "_Tables", shared: Path) -> None:
    """The face network, each stage from where the one before has ended; the last is `face`."""
    start = None
    for number, stage in enumerate(stages, 1):
        out = shared / ("face" if number == len(stages) else f"face-{number}")
        start = _once(out, partial(_train_face, stage, tables, start))


def unpack_encoders(model_dir: Path, scratch: dict[str, Any], work_dir: Path) -> None:
    """Takes the encoders of a finished model, so that only the tuning differs.

    Args:
        model_dir (`Path`): A model that this recipe made.
        scratch (`dict`): As in [`build_from_scratch`].
        work_dir (`Path`): `face` and `tower` in it are written, unless they are there.

    Raises:
        UsageError: The model has no face network, or its tower is not the recipe's.
    """
    if (work_dir / "face").exists():  # the last that is written
        return
    model, _ = load_model(model_dir, "cpu")
    networks = {"face": model.model.face_model}
    if networks["face"] is None:
        raise UsageError(f"{model_dir}: has no face network. Name a model that has one.")
    if scratch["tower"] != "face":
        tower = FaceXFormerModel(FaceXFormerConfig(**scratch["tower"]["model"]))
        try:
            tower.backbone.load_state_dict(model.model.vision_tower.state_dict())
        except RuntimeError as error:
            raise UsageError(f"{model_dir}: its vision tower is not this recipe's.") from error
        networks = {"tower": tower} | networks
    for name, network in networks.items():
        with complete_folder(work_dir / name, replace=True) as partial_dir:
            network.save_pretrained(partial_dir)


class _Tables:
    """The face tables, read when a stage first asks for them."""

    def __init__(self, data: Path, work_dir: Path) -> None:
        self.data, self.work_dir = data, work_dir

    def landmarks(self) -> Path:
        """The file with FERPlus' landmarks."""
        return landmark_cache(self.data / "ferplus", self.work_dir)

    def ferplus(self, usage: str, size: int) -> FaceTable:
        """One official split of FERPlus, in crops of this side."""
        return ferplus_table(self.data / "ferplus", self.work_dir, usage, size)

    def fairface(self, size: int, color: bool) -> FaceTable:
        """FairFace's training faces, in crops of this side."""
        return fairface_table(self.data / "fairface", self.work_dir, size, color=color)


def _once(out: Path, make: Callable[[Path], object]) -> Path:
    """Makes a part unless it is there; what is there is whole."""
    if not out.exists():
        started = time.perf_counter()
        make(out)
        note_minutes(out.parent, out.name, (time.perf_counter() - started) / 60)
    return out


def note_minutes(work_dir: Path, part: str, minutes: float) -> None:
    """Adds to how long a part has taken so far in this work folder.

    Args:
        work_dir (`Path`): The work folder; `minutes.json` in it is written.
        part (`str`): Name of the part.
        minutes (`float`): Wall time, minutes.
    """
    path = work_dir / "minutes.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[part] = round(known.get(part, 0.0) + minutes, 2)
    path.write_text(json.dumps(known, indent=2), encoding="utf-8")


def _build_instructions(data: Path, landmarks: Path, out: Path) -> None:
    build_folder("ferplus", data / "ferplus", out, TemplateAnnotator(from_file(landmarks)))


def face_stages(settings: dict[str, Any] | list[dict[str, Any]]) -> list[FaceStage]:
    """The face stages of a recipe, in order.

    Args:
        settings (`dict` or `list[dict]`): As in [`build_from_scratch`].

    Returns:
        `list[FaceStage]`: Each with the settings of those before it, where it has none of its own;
        so too within `model`.
    """
    merged: dict[str, Any] = {}
    stages = []
    for stage in settings if isinstance(settings, list) else [settings]:
        model = merged.get("model", {}) | stage.get("model", {})
        merged = merged | stage | {"model": model}
        stages.append(FaceStage(**merged))
    return stages


def _train_face(stage: FaceStage, tables: "_Tables", start: Path | None, out: Path) -> None:
    size = stage.model["image_size"]
    train, validation = tables.ferplus("Training", size), tables.ferplus("PublicTest", size)
    extra = tables.fairface(size, stage.color)
    train_face(stage, train, extra, validation, out, _checkpoints(out), start)


def _train_tower(
    settings: dict[str, Any], tables: _Tables, stages: list[FaceStage], out: Path
) -> None:
    """A generic tower: what it learns of faces holds no expression, neither votes nor landmarks.

    It sees the crops of the face network, so that both are grey or both coloured.
    """
    size, color = stages[0].model["image_size"], stages[-1].color
    own = {"landmark_weight": 0.0, "decoder_start": 2.0, "color": color}
    stage = FaceStage(**(settings | own))
    train_face(stage, tables.fairface(size, color), None, None, out, _checkpoints(out))


def _checkpoints(out: Path) -> Path:
    return out.with_name(out.name + "-checkpoints")


def assemble(
    scratch: dict[str, Any], face_dir: Path, tower_dir: Path, built: Path, out: Path
) -> Path:
    """Puts an untuned model together: trained encoders, the rest fresh.

    Args:
        scratch (`dict`): As in [`build_from_scratch`].
        face_dir (`Path`): The trained face network.
        tower_dir (`Path`): The network whose backbone becomes the vision tower.
        built (`Path`): Instruction data; its texts make the tokenizer.
        out (`Path`): Folder to write.

    Returns:
        `Path`: `out`.
    """
    face, tower = (
        FaceXFormerModel.from_pretrained(folder, use_safetensors=True, **READING)
        for folder in (face_dir, tower_dir)
    )
    tokenizer = train_tokenizer(_texts(built), scratch["tokenizer"]["vocab_size"])
    config = _config(scratch["model"], face, tower, tokenizer)
    torch.manual_seed(face_stages(scratch["face"])[0].seed)
    model = EmoLlamaForConditionalGeneration(config)
    if model.model.vision_tower is not None:
        model.model.vision_tower.load_state_dict(tower.backbone.state_dict())
    if model.model.face_model is not None:
        model.model.face_model.load_state_dict(face.state_dict())
    with complete_folder(out) as partial_dir:
        model.save_pretrained(partial_dir)
        _processor(config, face, tower, tokenizer, scratch).save_pretrained(partial_dir)
    return out


def _config(
    settings: dict[str, Any],
    face: FaceXFormerModel,
    tower: FaceXFormerModel,
    tokenizer: PreTrainedTokenizerFast,
) -> EmoLlamaConfig:
    """The parts settle the rest: vocabularies, placeholders, labels, encoders."""
    fim = settings.get("fim_config", {})
    has_clues = fim.get("use_global", True) or fim.get("use_local", True)
    needs_face = has_clues or settings.get("attribute_prompt") == "predicted"
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _names().items()}
    text = {
        "vocab_size": len(tokenizer),
        **{k: ids[k] for k in ("pad_token_id", "bos_token_id", "eos_token_id")},
    }
    return EmoLlamaConfig(
        **(
            settings
            | {
                "vision_config": _settings(tower.config.backbone_config),
                "face_config": _settings(face.config) if needs_face else None,
                "text_config": settings["text_config"] | text,
                "qformer_config": settings["qformer_config"]
                | {"vocab_size": len(tokenizer), "pad_token_id": 0},
                "image_token_id": ids["image_token_id"],
                "video_token_id": ids["video_token_id"],
                "id2label": dict(enumerate(FERPLUS)),
            }
        )
    )


def _settings(config: PreTrainedConfig) -> dict[str, Any]:
    """A part's configuration without the folder that it was read from."""
    return {k: v for k, v in config.to_dict().items() if k != "_name_or_path"}


def _names() -> dict[str, str]:
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, SPECIAL_TOKENS, strict=True))


def _processor(
    config: EmoLlamaConfig,
    face: FaceXFormerModel,
    tower: FaceXFormerModel,
    tokenizer: PreTrainedTokenizerFast,
    scratch: dict[str, Any],
) -> EmoLlamaProcessor:
    """Face crops without a margin, for both encoders, as they were trained."""
    seen = face_stages(scratch["face"])[-1]
    tower_seen = seen if scratch["tower"] == "face" else FaceStage(**scratch["tower"])
    images = EmoLlamaImageProcessor(
        size=tower.config.image_size,
        image_mean=list(tower_seen.image_mean),
        image_std=list(tower_seen.image_std),
        vision_input="face",
        do_grayscale_face=not seen.color,
        do_face_crop=config.face_config is not None,
        face_size=face.config.image_size,
        face_image_mean=list(seen.image_mean),
        face_image_std=list(seen.image_std),
        face_margin=0.0,
    )
    return EmoLlamaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        qformer_tokenizer=tokenizer,
        chat_template=chat_template(system_prompt=""),
        num_tokens_per_frame=config.num_tokens_per_frame,
        max_question_length=config.qformer_config.max_position_embeddings,
        max_frames=16,
    )


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learns a byte-level BPE tokenizer: whatever is typed can be written with it.

    Args:
        texts (`Iterable[str]`): What it learns from.
        vocab_size (`int`): Tokens in all, 261 at least.

    Returns:
        `PreTrainedTokenizerFast`: With pad, begin, end and both placeholder tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    # The space before an answer is the first token's: decoded it goes, as Llama's tokenizers do.
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    pad, begin, end, *placeholders = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        extra_special_tokens=placeholders,
        model_max_length=4096,
    )


def _texts(built: Path, configs: Sequence[str] = ("category", "conversation")) -> Iterator[str]:
    """Every turn of the training data, with the space that the chat template puts before it."""
    for config in configs:
        for messages in load_dataset(str(built), config, split="train")["messages"]:
            for message in messages:
                yield f" {message['content']}"


def changed_settings(scratch: dict[str, Any], work_dir: Path) -> list[str]:
    """Compares settings with those that a work folder was begun with; a new folder notes them.

    Args:
        scratch (`dict`): Settings of this run.
        work_dir (`Path`): The work folder.

    Returns:
        `list[str]`: Names of the settings that differ; none where the run may go on.
    """
    path = work_dir / "scratch.json"
    settings = json.loads(json.dumps(scratch))
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        return sorted(k for k in {*known, *settings} if known.get(k) != settings.get(k))
    work_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return []


__all__ = [
    "assemble",
    "build_from_scratch",
    "changed_settings",
    "note_minutes",
    "train_tokenizer",
    "unpack_encoders",
]
