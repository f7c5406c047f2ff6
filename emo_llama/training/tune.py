"""Instruction tuning: TRL's SFTTrainer, its collator and PEFT, as they are, on built data.

Decides which rows are shown, which parts are frozen, and what is done with the finished model:
calibration of the label likelihoods on the validation split, and export. The recipe's other
settings are TRL's.
"""

import copy
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets, load_dataset
from transformers.trainer_utils import get_last_checkpoint
from trl import ModelConfig, SFTConfig, SFTTrainer, TrlParser, get_peft_config

from emo_llama.errors import UsageError
from emo_llama.loading import load_model
from emo_llama.modeling import EmoLlamaForConditionalGeneration
from emo_llama.recognizer import EmotionRecognizer
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.augmentation import AugmentedFaces
from emo_llama.training.card import write_card
from emo_llama.training.scratch import build_from_scratch, changed_settings, note_minutes

PARTS = ("vision_tower", "face_model", "frame_tokens", "face_info_mining", "language_model")


def parse_recipe(words: list[str]) -> tuple[RecipeArguments, SFTConfig, ModelConfig]:
    """Reads a recipe and what overrides it.

    Args:
        words (`list[str]`): `--config FILE` and any `--key value`.

    Returns:
        `tuple[RecipeArguments, SFTConfig, ModelConfig]`: All settings.

    Raises:
        [`UsageError`]: The recipe cannot be read or holds a key that nothing knows.
    """
    parser = TrlParser((RecipeArguments, SFTConfig, ModelConfig))
    try:
        recipe, sft, model = parser.parse_args_and_config(words)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{' '.join(words)}: the recipe cannot be read: {error}. See recipes/ for examples."
        ) from error
    unknown = sorted(set(recipe.frozen) - set(PARTS))
    if unknown:
        raise UsageError(
            f"frozen: {', '.join(unknown)} is no part of the model; parts are {', '.join(PARTS)}."
        )
    if recipe.data is None:
        raise UsageError("A recipe needs data: name its folder by --data DIR.")
    return recipe, sft, model


def train(recipe: RecipeArguments, sft: SFTConfig, peft: ModelConfig, resume: bool = False) -> Path:
    """Trains a model as a recipe says.

    Args:
        recipe ([`RecipeArguments`]): Data, frozen parts, and what a model from scratch is made of.
        sft ([`trl.SFTConfig`]): Settings of the tuning; `output_dir` is the work folder.
        peft ([`trl.ModelConfig`]): The model to start from, and LoRA where `use_peft` is set.
        resume (`bool`, *optional*, defaults to `False`): Go on with what the work folder holds.

    Returns:
        `Path`: Folder of the finished model.

    Raises:
        [`UsageError`]: The work folder belongs to another run, or holds one and `resume` is off.
    """
    work_dir, data = Path(sft.output_dir), Path(recipe.data)
    if work_dir.is_dir() and any(work_dir.iterdir()) and not resume:
        raise UsageError(
            f"{work_dir} holds an earlier run. Go on by --resume, or name another --output_dir."
        )
    source = peft.model_name_or_path
    if recipe.scratch is not None:
        scratch = scratch_settings(recipe)
        if changed := changed_settings(scratch, work_dir):
            raise UsageError(
                f"{work_dir} was begun with other settings of {', '.join(changed)}. Name another "
                "--output_dir."
            )
        encoders = None if recipe.encoders is None else Path(recipe.encoders)
        source, data = build_from_scratch(scratch, data, work_dir, encoders)
    finished = work_dir / "model"
    if not finished.exists():
        _tune(source, data, recipe, sft, peft, finished)
    if recipe.export_to is not None:
        _replace(finished, Path(recipe.export_to))
    return finished


def scratch_settings(recipe: RecipeArguments) -> dict[str, Any]:
    """What a model from scratch is made of: `recipe.scratch` with its switches applied.

    Args:
        recipe ([`RecipeArguments`]): The recipe.

    Returns:
        `dict[str, Any]`: For [`build_from_scratch`].
    """
    scratch = copy.deepcopy(recipe.scratch or {})
    if recipe.tower == "face":
        scratch["tower"] = "face"
    switch = recipe.face_info_mining
    scratch["model"].setdefault("fim_config", {}).update(
        use_global=switch in ("both", "global"), use_local=switch in ("both", "local")
    )
    return scratch


def _tune(
    source: str | Path | None,
    data: Path,
    recipe: RecipeArguments,
    sft: SFTConfig,
    peft: ModelConfig,
    finished: Path,
) -> None:
    """The tuning itself; the finished folder appears when it is whole."""
    model, processor = load_model(source)
    freeze(model, recipe.frozen)
    sft.output_dir = str(finished.with_name("tuning"))
    trainer = SFTTrainer(
        model=model,
        args=sft,
        train_dataset=_shown(data, recipe, sft.seed),
        processing_class=processor,
        peft_config=get_peft_config(peft),
    )
    checkpoint = get_last_checkpoint(sft.output_dir) if Path(sft.output_dir).is_dir() else None
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    note_minutes(finished.parent, "tuning", (time.perf_counter() - started) / 60)
    model = trainer.model.merge_and_unload() if peft.use_peft else trainer.model
    partial = finished.with_name("model.part")
    shutil.rmtree(partial, ignore_errors=True)
    model.eval().save_pretrained(partial)
    processor.save_pretrained(partial)
    calibrate(partial, data)
    write_card(partial, data, recipe, sft)
    partial.replace(finished)


def freeze(model: EmoLlamaForConditionalGeneration, parts: list[str]) -> None:
    """Switches gradients off for whole parts.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model.
        parts (`list[str]`): Names out of [`PARTS`]; one that this model lacks is passed over.
    """
    for name in parts:
        part = getattr(model.model, name)
        if part is not None:
            part.requires_grad_(False)
    model.train()


def _shown(data: Path, recipe: RecipeArguments, seed: int) -> Dataset:
    """The rows of an epoch, their pictures changed at random where the recipe asks for it."""
    rows = training_rows(data, recipe.conversation_share, seed)
    return (
        rows.with_transform(AugmentedFaces(recipe.augment_faces)) if recipe.augment_faces else rows
    )


def training_rows(data: Path, conversation_share: float, seed: int) -> Dataset:
    """The rows that are shown in one epoch, mixed.

    Args:
        data (`Path`): Built instruction data.
        conversation_share (`float`): Conversation rows that are shown, as a share of all.
        seed (`int`): Of the order.

    Returns:
        `datasets.Dataset`: `images` and `messages`.
    """
    category, conversation = (
        load_dataset(str(data), config, split="train").select_columns(["images", "messages"])
        for config in ("category", "conversation")
    )
    count = round(conversation_share * len(conversation))
    conversation = conversation.shuffle(seed=seed).select(range(count))
    return concatenate_datasets([category, conversation]).shuffle(seed=seed)


def calibrate(model_dir: Path, data: Path) -> float:
    """Fits the temperature of label likelihoods to the validation split, and saves it.

    Args:
        model_dir (`Path`): A model folder.
        data (`Path`): Built instruction data; its validation split is read.

    Returns:
        `float`: The temperature (Guo et al. 2017, arXiv 1706.04599).
    """
    recognizer = EmotionRecognizer.from_pretrained(model_dir, detector="none")
    rows = load_dataset(str(data), "category", split="validation")
    pictures = [images[0].convert("RGB") for images in rows["images"]]
    scores = np.log(np.maximum(recognizer.score_labels(pictures, batch_size=64), 1e-30))
    targets = np.array([recognizer.labels.index(label) for label in rows["label"]])
    grid = np.geomspace(0.25, 8, 101)
    best = float(min(grid, key=lambda temperature: _likelihood_loss(scores / temperature, targets)))
    config: Any = recognizer.model.config
    config.label_temperature = round(best * config.label_temperature, 4)
    config.save_pretrained(model_dir)
    return config.label_temperature


def _likelihood_loss(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood of the targets under unnormalised log scores (n, L)."""
    shifted = scores - scores.max(1, keepdims=True)
    return float(
        (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(targets)), targets]).mean()
    )


def _replace(finished: Path, out: Path) -> None:
    """Copies the finished model, and only then lets an older one go."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(finished, fresh)
    shutil.rmtree(out, ignore_errors=True)
    fresh.replace(out)
