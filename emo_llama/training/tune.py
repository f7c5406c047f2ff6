"""Instruction tuning: TRL's SFTTrainer, its collator and PEFT, as they are, on built data.

Decides what a run starts from, which parts are frozen, and what is done with the finished model:
calibration of the label likelihoods on the validation split, scores, card, and export. The recipe's
other settings are TRL's.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback
from trl import ModelConfig, SFTConfig, get_peft_config

from emo_llama.errors import UsageError
from emo_llama.evaluation.split import split_report
from emo_llama.files import complete_folder, only_run
from emo_llama.labels import label_name
from emo_llama.loading import load_model
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.recognition.recognizer import EmotionRecognizer
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.averaging import AVERAGE, WeightAverage
from emo_llama.training.calibration import calibrate, prior_bias
from emo_llama.training.card import write_card
from emo_llama.training.data.collator import EpochOfRows
from emo_llama.training.data.feed import Feed, feed
from emo_llama.training.data.instructions import InstructionData, built_instructions
from emo_llama.training.parts import adopt_labels, freeze, keep_precise, switch_parts
from emo_llama.training.processes import make_shardable, on_main, whole_model
from emo_llama.training.recipe import scratch_settings
from emo_llama.training.resume import explained, last_whole_checkpoint
from emo_llama.training.scratch.assembling import build_from_scratch, changed_settings, note_minutes
from emo_llama.training.trainer import (
    InstructionTrainer,
    add_expression_head,
    drop_expression_head,
)
from emo_llama.training.validation import SPLIT, score_validation

REPORT = "validation.json"
ANSWERS = "validation-answers.npz"
"""In the work folder: `probabilities` (n, labels) and `targets` (n,) of the finished model."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run gave.

    Args:
        folder (`Path`):
            The finished model.
        before (`dict`, *optional*):
            Report of the model that training began with on the validation split; `None` where
            there is no such split or the model did not know the labels.
        after (`dict`, *optional*):
            Report of the finished model; `None` where there is no such split.
        new_labels (`list[str]`, *optional*):
            Those of the data that the model that training began with does not know.
    """

    folder: Path
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    new_labels: list[str] = field(default_factory=list)


def train(
    recipe: RecipeArguments, sft: SFTConfig, peft: ModelConfig, resume: bool = False
) -> Trained:
    """Trains a model as a recipe says.

    Args:
        recipe ([`RecipeArguments`]): Data, frozen parts, and what a model from scratch is made of.
        sft ([`trl.SFTConfig`]): Settings of the tuning; `output_dir` is the work folder.
        peft ([`trl.ModelConfig`]): The model to start from, and LoRA where `use_peft` is set.
        resume (`bool`, *optional*, defaults to `False`): Go on with what the work folder holds.

    Returns:
        [`Trained`]: The finished model and its scores.

    Raises:
        [`UsageError`]: The work folder belongs to another run, or holds one and `resume` is off.
        [`InputNotFoundError`]: There are no data.
    """
    finished = Path(sft.output_dir) / "model"
    with _only_run(sft.output_dir):
        source, data, is_tuned = on_main(partial(_prepare, recipe, sft, peft, resume))
        if not is_tuned:
            _tune(source, data, recipe, sft, peft, finished)
        return on_main(partial(_conclude, source, data, recipe, finished))


@contextmanager
def _only_run(work_dir: str) -> Iterator[None]:
    """Keeps a second run off the work folder; the first process holds the lock for all."""
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(only_run(work_dir, "--output_dir"))

        on_main(hold)
        yield


def _prepare(
    recipe: RecipeArguments, sft: SFTConfig, peft: ModelConfig, resume: bool
) -> tuple[str | Path | None, InstructionData, bool]:
    """The model to start from, the built data, and whether the tuning is done already."""
    work_dir, data = Path(sft.output_dir), Path(recipe.data)
    if work_dir.is_dir() and any(work_dir.iterdir()) and not resume:
        raise UsageError(
            f"{work_dir} holds an earlier run. Go on by --resume, or name another --output_dir."
        )
    source = peft.model_name_or_path
    if recipe.scratch is None:
        built = InstructionData(built_instructions(data, work_dir))
        return source, built, (work_dir / "model").exists()
    if sft.world_size > 1:
        raise UsageError(
            f"A recipe with scratch runs in one process, not in {sft.world_size}. Leave out the "
            "launcher; what it makes can be tuned on by several."
        )
    scratch = scratch_settings(recipe)
    if changed := changed_settings(scratch, work_dir):
        raise UsageError(
            f"{work_dir} was begun with other settings of {', '.join(changed)}. Name another "
            "--output_dir."
        )
    encoders = None if recipe.encoders is None else Path(recipe.encoders)
    source, data = build_from_scratch(scratch, data, work_dir, encoders)
    return source, InstructionData(data), (work_dir / "model").exists()


def _conclude(
    source: str | Path | None, data: InstructionData, recipe: RecipeArguments, finished: Path
) -> Trained:
    """The export, and the scores."""
    if recipe.export_to is not None:
        with complete_folder(Path(recipe.export_to), replace=True) as fresh:
            shutil.copytree(finished, fresh, dirs_exist_ok=True)
    if SPLIT not in data.splits:
        return Trained(finished)
    after = json.loads((finished / REPORT).read_text(encoding="utf-8"))
    if recipe.scratch is not None:
        return Trained(finished, None, after)
    recognizer = _recognizer(source, recipe.attributes)
    known = {label_name(label) for label in recognizer.labels}
    if new := [label for label in data.labels if label_name(label) not in known]:
        return Trained(finished, None, after, new)
    return Trained(finished, split_report(score_validation(recognizer, data)), after)


def _tune(
    source: str | Path | None,
    data: InstructionData,
    recipe: RecipeArguments,
    sft: SFTConfig,
    peft: ModelConfig,
    finished: Path,
) -> None:
    """The tuning itself; the finished folder appears when it is whole."""
    model, processor = _start(source, data, recipe, sft.seed)
    dtype = model.dtype
    freeze(model, recipe.frozen)
    if recipe.expression_loss:
        add_expression_head(model)
    if (sft.bf16 or sft.fp16) and sft.deepspeed_plugin is None:  # DeepSpeed keeps its own copy
        keep_precise(model, (peft.lora_modules_to_save or []) if peft.use_peft else None)
    make_shardable(model)
    sft.output_dir = str(finished.with_name("tuning"))
    sft.remove_unused_columns = False  # the collator chooses
    sft.dataloader_pin_memory &= torch.accelerator.is_available()  # PyTorch warns where it is not
    started = time.perf_counter()
    fed, checked = _feeds(model, processor, data, recipe, sft)
    trainer = _run_trainer(model, processor, (fed, checked), recipe, sft, peft)
    minutes = (time.perf_counter() - started) / 60
    trained = whole_model(trainer, lambda: _start(source, data, recipe, sft.seed)[0])

    def finish() -> None:
        """What only the first process does."""
        note_minutes(finished.parent, "tuning", minutes)
        whole = trained.merge_and_unload() if peft.use_peft else trained
        drop_expression_head(whole)
        with complete_folder(finished) as unscored:
            report = _save(whole.to(dtype), processor, data, recipe, unscored)
            write_card(unscored, data.path, recipe, sft, report, source)

    on_main(finish)


def _start(
    source: str | Path | None, data: InstructionData, recipe: RecipeArguments, seed: int
) -> tuple[EmoLlamaForConditionalGeneration, EmoLlamaProcessor]:
    """The model that a tuning begins with: the labels of its data, and its parts switched."""
    model, processor = load_model(source, "cpu")
    adopt_labels(model, data.labels)
    if recipe.scratch is None:
        switch_parts(model, processor, recipe.face_info_mining, recipe.tower, seed)
    else:
        model.config.max_turns = data.longest_conversation()
    model.config.attribute_prompt = recipe.attributes
    return model, processor


def _feeds(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    data: InstructionData,
    recipe: RecipeArguments,
    sft: SFTConfig,
) -> tuple[Feed, Feed | None]:
    """Rows to learn from, and rows to evaluate on where the recipe asks for that."""
    fed = feed(data, recipe, sft, model, processor)
    if sft.eval_strategy == "no":
        return fed, None
    if SPLIT not in data.splits:
        raise UsageError(
            f"{data.path}: no split validation to evaluate on. Set eval_strategy: no and "
            "early_stopping_patience: 0, or build data that have one."
        )
    return fed, feed(data, recipe, sft, model, processor, SPLIT)


def _run_trainer(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    feeds: tuple[Feed, Feed | None],
    recipe: RecipeArguments,
    sft: SFTConfig,
    peft: ModelConfig,
) -> InstructionTrainer:
    """Runs the trainer to its end; averaged weights are in place."""
    fed, checked = feeds
    trainer = InstructionTrainer(
        model=model,
        args=sft,
        data_collator=fed.collator,
        train_dataset=fed.rows,
        eval_dataset=None if checked is None else checked.rows,
        processing_class=processor,
        peft_config=get_peft_config(peft),
        callbacks=[EpochOfRows()],
        row_weights=fed.weights,
        expression_loss=recipe.expression_loss,
        eval_collator=None if checked is None else checked.collator,
    )
    if recipe.ema_decay and trainer.is_fsdp_enabled:
        raise UsageError("ema_decay does not work under FSDP. Set it to 0, or use ddp.yaml.")
    average = None
    if recipe.ema_decay:
        trained = {k: p for k, p in trainer.model.named_parameters() if p.requires_grad}
        average = WeightAverage(lambda: trained, recipe.ema_decay)
        trainer.add_callback(average)
    if recipe.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(recipe.early_stopping_patience))
    needs = [] if average is None else [AVERAGE]
    with explained(sft):
        newest = on_main(partial(last_whole_checkpoint, sft.output_dir, needs))
        trainer.train(resume_from_checkpoint=newest)
    if average is not None:
        average.swap()
    return trainer


def _save(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    data: InstructionData,
    recipe: RecipeArguments,
    out: Path,
) -> dict[str, Any] | None:
    """Writes the model, calibrates and scores it; the report, where there is a validation split."""
    labels = [label for _, label in sorted(model.config.id2label.items())]
    shown = data.category("train")["label"]
    model.config.label_bias = prior_bias(shown, labels, recipe.prior_correction)
    model.config.operating_points = {
        name: prior_bias(shown, labels, power) or [0.0] * len(labels)
        for name, power in recipe.operating_points.items()
    }
    model.eval().save_pretrained(out)
    processor.save_pretrained(out)
    if SPLIT not in data.splits:
        return None
    recognizer = _recognizer(out, recipe.attributes)
    cache = None if recipe.feature_cache is None else Path(recipe.feature_cache)
    scored = score_validation(recognizer, data, cache)
    scored = calibrate(scored, recognizer.model.config)
    recognizer.model.config.save_pretrained(out)
    answers = {"probabilities": scored.probabilities, "targets": scored.targets}
    np.savez(out.with_name(ANSWERS), **answers)
    report = split_report(scored)
    (out / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
    return report


def _recognizer(model: str | Path | None, attributes: str) -> EmotionRecognizer:
    """What scores a folder's model on whole pictures."""
    return EmotionRecognizer.from_pretrained(model, detector="none", attributes=attributes)
