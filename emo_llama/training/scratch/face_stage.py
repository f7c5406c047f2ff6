"""The face stage: trains a small face network on all that the data sets know of a face.

Decides where weights come from, rates and schedule; transformers' Trainer does the loop,
checkpoints and resume. Weights are averaged along the way (EMA), and the average is what is kept.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import (
    AutoModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from emo_llama.errors import DataFormatError
from emo_llama.evaluation.metrics.facial_expression.scores import (
    classification_metrics,
    confusion_matrix,
    count,
    uar,
    war,
)
from emo_llama.files import complete_folder
from emo_llama.labels import FERPLUS
from emo_llama.loading import READING, find_model
from emo_llama.modeling import FaceXFormerModel
from emo_llama.norms import restate_norms
from emo_llama.training.averaging import AVERAGE, WeightAverage
from emo_llama.training.data.sampling import FaceSampler, balanced_weights
from emo_llama.training.resume import last_whole_checkpoint
from emo_llama.training.scratch.face_objective import FaceBatches, FaceObjective, FaceStage
from emo_llama.training.scratch.face_tables import FaceTable

__all__ = ["FaceBatches", "FaceObjective", "FaceStage", "begin", "train_face"]

EVALUATION = "evaluation.json"
"""In the folder of a network: how it does on the validation faces."""
NORM_BATCHES, NORM_BATCH = 8, 64
"""Training faces that give a pretrained backbone's norms their statistics."""


class _CropSize(TrainerCallback):
    """Tells the model how far it is, by which it picks the size of its crops."""

    def __init__(self, model: FaceObjective) -> None:
        self.model = model

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Says it."""
        self.model.progress = state.global_step / state.max_steps


class _FaceTrainer(Trainer):
    """Scores the averaged weights, since they are what is kept."""

    average: WeightAverage

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> torch.utils.data.Sampler:
        stage, faces = self.model.stage, self.train_dataset
        draws = 0 if faces.extra is None else int(stage.attribute_share * len(faces.table))
        weights = None
        if stage.balance:
            weights = balanced_weights(faces.table.votes.argmax(1), stage.balance)
        extra = len(faces) - len(faces.table)
        # whole batches by the sampler: `dataloader_drop_last` would drop validation faces as well
        count = (len(faces.table) + draws) // stage.batch_size * stage.batch_size
        return FaceSampler(len(faces.table), extra, draws, count, stage.seed, weights)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """AdamW, slower in early layers; gains, biases and norms do not decay."""
        decay = self.model.stage.weight_decay
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for parameter, share in _rates(self.model):
            settings = (self.args.learning_rate * share, decay if parameter.ndim > 1 else 0.0)
            groups.setdefault(settings, []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": parameters, "lr": rate, "weight_decay": decay}
                for (rate, decay), parameters in groups.items()
            ],
            lr=self.args.learning_rate,
            fused=True,
        )
        return self.optimizer

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As the parent, with the average in the trained weights' place."""
        with self.average.in_place():
            return super().evaluation_loop(*args, **kwargs)

    def figures(self, faces: FaceBatches) -> dict[str, Any]:
        """Accuracy, mean recall and their intervals of the averaged weights, by their head."""
        answers = self.predict(faces)
        metrics = classification_metrics(answers.label_ids, answers.predictions.argmax(-1), FERPLUS)
        return metrics | {"rule": "majority"}


def _rates(model: FaceObjective) -> Iterator[tuple[torch.nn.Parameter, float]]:
    """Every parameter with its learning rate as a share of the stage's."""
    layers = [m for m in model.face.backbone.modules() if len(list(m.parameters(recurse=False)))]
    shares: dict[torch.nn.Parameter, float] = {}
    for depth, layer in enumerate(layers, 1):
        share = model.stage.early_rate ** (1 - depth / len(layers))
        shares |= dict.fromkeys(layer.parameters(recurse=False), share)
    for parameter in model.parameters():
        yield parameter, shares.get(parameter, 1.0)


def _accuracy(prediction: Any) -> dict[str, float]:
    guess, num_classes = prediction.predictions.argmax(-1), prediction.predictions.shape[-1]
    counts = count(confusion_matrix(prediction.label_ids, guess, num_classes))
    return {"accuracy": float(war(counts)), "uar": float(uar(counts))}


def train_face(
    stage: FaceStage,
    train: FaceTable,
    extra: FaceTable | None,
    validation: FaceTable | None,
    out: Path,
    work_dir: Path,
    start: Path | None = None,
) -> None:
    """Trains the face network and writes it as a folder.

    A run that was cut off goes on from its last checkpoint.

    Args:
        stage ([`FaceStage`]): Settings.
        train ([`FaceTable`]): Training faces.
        extra ([`FaceTable`], *optional*): Faces that are drawn from, as `attribute_share` says.
        validation ([`FaceTable`], *optional*): Faces that are scored after each epoch.
        out (`Path`): Folder of the finished network; it appears when it is whole.
        work_dir (`Path`): Folder of the checkpoints.
        start (`Path`, *optional*): A trained face network to go on from.
    """
    model = begin(stage, train, start)
    average = WeightAverage(model.state_dict, stage.ema_decay, from_start=False)
    arguments = TrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=256,
        learning_rate=stage.learning_rate,
        weight_decay=stage.weight_decay,
        warmup_steps=stage.warmup_steps,
        lr_scheduler_type="cosine",
        logging_steps=50,
        eval_strategy="no" if validation is None else "epoch",
        save_strategy="steps" if stage.save_steps else "epoch",
        save_steps=stage.save_steps or 500,
        bf16=stage.bf16,
        save_total_limit=2,
        seed=stage.seed,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
    )
    trainer = _FaceTrainer(
        model=model,
        args=arguments,
        train_dataset=FaceBatches(train, extra, stage.color),
        eval_dataset=None if validation is None else FaceBatches(validation, None, stage.color),
        compute_metrics=_accuracy,
        callbacks=[average, _CropSize(model)],
    )
    trainer.average = average
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(work_dir, [AVERAGE]))
    with complete_folder(out) as partial:
        with average.in_place():
            model.face.save_pretrained(partial)
        if validation is not None:
            figures = trainer.figures(FaceBatches(validation, None, stage.color))
            (partial / EVALUATION).write_text(json.dumps(figures, indent=2), encoding="utf-8")


def begin(stage: FaceStage, train: FaceTable, start: Path | None = None) -> FaceObjective:
    """The network as a stage begins: from the one before, a pretrained backbone, or nothing.

    The norms of a pretrained backbone get the statistics of training faces; what it says stays.

    Args:
        stage ([`FaceStage`]): Settings.
        train ([`FaceTable`]): Training faces.
        start (`Path`, *optional*): A trained face network to go on from.

    Returns:
        [`FaceObjective`]: The network with its losses.

    Raises:
        ModelNotFoundError: There is no folder or repository `stage.backbone`.
        DataFormatError: It holds a backbone of another kind or size than `stage.model` names.
    """
    torch.manual_seed(stage.seed)
    model = FaceObjective(stage)
    if start is not None:
        model.face = FaceXFormerModel.from_pretrained(
            start, config=model.face.config, use_safetensors=True, **READING
        )
    elif stage.backbone is not None:
        backbone = model.face.backbone
        _fill(backbone, find_model(stage.backbone))
        restate_norms(backbone, _normalised_faces(model, train))
    return model


def _fill(backbone: torch.nn.Module, folder: Path) -> None:
    """Gives a backbone the weights of a folder, none of which may be missing."""
    reading = READING | {"use_safetensors": True, "output_loading_info": True}
    found, report = AutoModel.from_pretrained(folder, **reading)
    missing = sorted(report["missing_keys"])  # transformers would begin these at random
    if missing:
        raise DataFormatError(
            f"{folder}: expected the weights of {type(found).__name__}; {len(missing)} are "
            f"missing, {missing[0]} among them. Name the complete checkpoint."
        )
    try:
        backbone.load_state_dict(getattr(found, "backbone", found).state_dict())
    except RuntimeError as error:  # PyTorch names each tensor, with both shapes
        raise DataFormatError(
            f"{folder}: its backbone is not the one that the stage's model describes. Change "
            f"backbone_config, or name another backbone. {error}"
        ) from error


def _normalised_faces(model: FaceObjective, train: FaceTable) -> Iterator[torch.Tensor]:
    """Training faces from all over the table, as the backbone sees them at first."""
    size = int(model.stage.sizes[0][1])
    rows = np.linspace(0, len(train) - 1, min(NORM_BATCHES * NORM_BATCH, len(train))).astype(int)
    for batch in np.array_split(rows, -(-len(rows) // NORM_BATCH)):
        pixels = model.pixels(torch.as_tensor(train.images[batch]))
        yield model.normalised(F.interpolate(pixels, (size, size), mode="bilinear", antialias=True))
