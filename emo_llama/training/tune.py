"""Instruction tuning: TRL's SFTTrainer, its collator and PEFT, as they are, on built data.

Decides what a run starts from, which parts are frozen, and what is done with the finished model:
calibration of the label likelihoods on the validation split, scores, card, and export. The recipe's
other settings are TRL's.
"""

import json
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config

from emo_llama.errors import UsageError
from emo_llama.evaluation.split import evaluate_split, read_split
from emo_llama.labels import label_name
from emo_llama.loading import load_model
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor
from emo_llama.recognizer import EmotionRecognizer
from emo_llama.training.arguments import RecipeArguments
from emo_llama.training.augmentation import EpochOfFaces
from emo_llama.training.calibration import calibrate
from emo_llama.training.card import write_card
from emo_llama.training.instructions import built_instructions, label_set, shown_rows, splits
from emo_llama.training.parts import freeze, keep_precise
from emo_llama.training.processes import make_shardable, on_main, whole_model
from emo_llama.training.recipe import scratch_settings
from emo_llama.training.resume import explained, last_whole_checkpoint
from emo_llama.training.scratch import build_from_scratch, changed_settings, note_minutes

REPORT = "validation.json"


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
    """

    folder: Path
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


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
    source, data, is_tuned = on_main(partial(_prepare, recipe, sft, peft, resume))
    if not is_tuned:
        _tune(source, data, recipe, sft, peft, finished)
    return on_main(partial(_conclude, source, data, recipe, finished))


def _prepare(
    recipe: RecipeArguments, sft: SFTConfig, peft: ModelConfig, resume: bool
) -> tuple[str | Path | None, Path, bool]:
    """The model to start from, the built data, and whether the tuning is done already."""
    work_dir, data = Path(sft.output_dir), Path(recipe.data)
    if work_dir.is_dir() and any(work_dir.iterdir()) and not resume:
        raise UsageError(
            f"{work_dir} holds an earlier run. Go on by --resume, or name another --output_dir."
        )
    source = peft.model_name_or_path
    if recipe.scratch is None:
        return source, built_instructions(data, work_dir), (work_dir / "model").exists()
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
    return source, data, (work_dir / "model").exists()


def _conclude(
    source: str | Path | None, data: Path, recipe: RecipeArguments, finished: Path
) -> Trained:
    """The export, and the scores."""
    if recipe.export_to is not None:
        _replace(finished, Path(recipe.export_to))
    if "validation" not in splits(data):
        return Trained(finished)
    after = json.loads((finished / REPORT).read_text(encoding="utf-8"))
    before = None if recipe.scratch is not None else _score(source, data)
    return Trained(finished, before, after)


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
    dtype = model.dtype
    adopt_labels(model, label_set(data))
    freeze(model, recipe.frozen)
    if (sft.bf16 or sft.fp16) and sft.deepspeed_plugin is None:  # DeepSpeed keeps its own copy
        keep_precise(model, (peft.lora_modules_to_save or []) if peft.use_peft else None)
    make_shardable(model)
    sft.output_dir = str(finished.with_name("tuning"))
    trainer = SFTTrainer(
        model=model,
        args=sft,
        train_dataset=shown_rows(data, recipe.conversation_share, sft.seed, recipe.augment_faces),
        processing_class=processor,
        peft_config=get_peft_config(peft),
        callbacks=[EpochOfFaces()],
    )
    started = time.perf_counter()
    with explained(sft):
        newest = on_main(partial(last_whole_checkpoint, sft.output_dir))
        trainer.train(resume_from_checkpoint=newest)
    minutes = (time.perf_counter() - started) / 60
    trained = whole_model(trainer, lambda: load_model(source)[0])

    def finish() -> None:
        note_minutes(finished.parent, "tuning", minutes)
        whole = trained.merge_and_unload() if peft.use_peft else trained
        unscored = finished.with_name("model.part")
        report = _save(whole.to(dtype), processor, data, unscored)
        write_card(unscored, data, recipe, sft, report, source)
        unscored.replace(finished)

    on_main(finish)


def _save(
    model: EmoLlamaForConditionalGeneration, processor: EmoLlamaProcessor, data: Path, out: Path
) -> dict[str, Any] | None:
    """Writes the model, calibrates and scores it; the report, where there is a validation split."""
    adopt_labels(model, label_set(data))
    shutil.rmtree(out, ignore_errors=True)
    model.eval().save_pretrained(out)
    processor.save_pretrained(out)
    if "validation" not in splits(data):
        return None
    calibrate(out, data)
    report = _score(out, data)
    (out / REPORT).write_text(json.dumps(report, indent=2), encoding="utf-8")
    return report


def _score(source: str | Path | None, data: Path) -> dict[str, Any] | None:
    """The report of a model on the validation split; `None` where it does not know the labels."""
    recognizer = EmotionRecognizer.from_pretrained(source, detector="none")
    known = {label_name(label) for label in recognizer.labels}
    if not known.issuperset(map(label_name, label_set(data))):
        return None
    return evaluate_split(recognizer, read_split(data, "validation"))


def adopt_labels(model: EmoLlamaForConditionalGeneration, labels: list[str]) -> None:
    """Gives a model the label set of its data, where that is another.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]): The model; a new set begins uncalibrated.
        labels (`list[str]`): The labels, in order.
    """
    config: Any = model.config
    if [label for _, label in sorted(config.id2label.items())] != labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
        config.label_temperature = 1.0


def _replace(finished: Path, out: Path) -> None:
    """Copies the finished model, and only then lets an older one go."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(finished, fresh)
    shutil.rmtree(out, ignore_errors=True)
    fresh.replace(out)
