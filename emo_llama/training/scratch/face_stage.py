"""The face stage: trains a small face network on all that the data sets know of a face.

Decides augmentation, losses and schedule; transformers' Trainer does the loop, checkpoints and
resume. Weights are averaged along the way (EMA), and the average is what is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from emo_llama.loading import READING
from emo_llama.modeling import FaceXFormerConfig, FaceXFormerModel
from emo_llama.training.data.augmentation import augment
from emo_llama.training.data.sampling import BalancedSampler, balanced_weights
from emo_llama.training.resume import (
    AVERAGE,
    last_whole_checkpoint,
    read_average,
    write_average,
)
from emo_llama.training.scratch.face_tables import FaceTable

MEAN, STD = 0.5, 0.25
"""Normalisation of grey values in [0, 1]; the processor of the model uses the same numbers."""


@dataclass
class FaceStage:
    """Settings of the face stage.

    Args:
        model (`dict`): Arguments of [`FaceXFormerConfig`].
        epochs (`int`, *optional*, defaults to 16): Passes over the FERPlus training faces.
        batch_size (`int`, *optional*, defaults to 160): Faces a step.
        learning_rate (`float`, *optional*, defaults to 2e-3): Peak of the cosine schedule (AdamW).
        weight_decay (`float`, *optional*, defaults to 0.05): Of AdamW.
        warmup_steps (`int`, *optional*, defaults to 200): Steps of linear warm-up.
        sizes (`list`, *optional*):
            `[start, pixels]` pairs: from this share of the steps on, crops have this side.
        decoder_start (`float`, *optional*, defaults to 0.75):
            Share of the steps that train the backbone alone, by linear heads on its pooled last
            map; fusion and decoder, half of the cost, join after it.
        attribute_share (`float`, *optional*, defaults to 0.15):
            FairFace faces, as a share of the FERPlus faces.
        landmark_weight (`float`, *optional*, defaults to 2.0): Weight of the landmark loss.
        attribute_weight (`float`, *optional*, defaults to 0.3): Weight of age, gender and race.
        balance (`float`, *optional*, defaults to 0.0):
            How far rare expressions are shown more often than they come: 0 not, 1 all equally.
        ema_decay (`float`, *optional*, defaults to 0.0):
            Of the running average of the weights, a step. 0 keeps the last weights.
        seed (`int`, *optional*, defaults to 0): Of weights, order and augmentation.
    """

    model: dict[str, Any]
    epochs: int = 16
    batch_size: int = 160
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    sizes: Sequence[Sequence[float]] = field(default_factory=lambda: [[0.0, 64], [0.6, 80]])
    decoder_start: float = 0.75
    attribute_share: float = 0.15
    landmark_weight: float = 2.0
    attribute_weight: float = 0.3
    balance: float = 0.0
    ema_decay: float = 0.0
    seed: int = 0


class FaceBatches(torch.utils.data.Dataset):
    """Rows of FERPlus, then draws from FairFace; a whole batch is gathered at once."""

    def __init__(
        self, table: FaceTable, extra: FaceTable | None = None, share: float = 0.0
    ) -> None:
        self.table, self.extra = table, extra
        self.draws = int(share * len(table)) if extra is not None else 0

    def __len__(self) -> int:
        return len(self.table) + self.draws

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        """Items of one batch; an index past FERPlus draws any FairFace face."""
        return [self[index] for index in indices]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        table, row = self.table, index
        if index >= len(self.table) and self.extra is not None:
            table, row = self.extra, int(torch.randint(len(self.extra), ()))
        fields = ("images", "votes", "labels", "landmarks", "found", "attributes")
        return {name: torch.as_tensor(getattr(table, name)[row]) for name in fields}


class FaceObjective(nn.Module):
    """The face network with its losses.

    Linear heads on the pooled last map train the backbone and are dropped later.
    """

    def __init__(self, stage: FaceStage) -> None:
        super().__init__()
        self.stage = stage
        self.face = FaceXFormerModel(FaceXFormerConfig(**stage.model))
        config = self.face.config
        sizes = (
            config.num_expressions,
            2 * config.num_landmarks,
            config.num_ages,
            config.num_genders,
            config.num_races,
        )
        width = self.face.fusion.projections[-1].in_features
        self.pooled_heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        self.progress = 0.0

    def forward(
        self,
        images: torch.Tensor,
        votes: torch.Tensor,
        landmarks: torch.Tensor,
        found: torch.Tensor,
        attributes: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Images (B, S, S) uint8 and targets as in [`FaceTable`] -> `loss`, `logits` (B, 8)."""
        pixels = images[:, None].float() / 255  # (B, 1, S, S)
        size = int([pixel for start, pixel in self.stage.sizes if start <= self.progress][-1])
        if self.training:
            pixels, landmarks = augment(pixels, landmarks, size)
        else:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        pixels = (
            ((pixels - MEAN) / STD)
            .expand(-1, 3, -1, -1)
            .contiguous(memory_format=torch.channels_last)
        )  # (B, 3, size, size)
        maps = self.face.get_backbone_maps(pixels)
        targets = (votes, landmarks, found, attributes)
        pooled = maps[-1].mean((2, 3))  # (B, C)
        answers = [head(pooled) for head in self.pooled_heads]
        loss = self._loss(answers, *targets)
        # Half of the cost, and of little use before the maps say something.
        if self.progress >= self.stage.decoder_start:
            answers = self._decoded(maps)
            loss = 0.5 * loss + self._loss(answers, *targets)
        return {"loss": loss, "logits": answers[0]}

    def _decoded(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Answers of the real heads: expression, landmarks, age, gender, race."""
        face = self.face
        tokens = face.get_task_tokens(face.fusion(maps), maps[-1])
        heads = (face.landmark_head, face.age_head, face.gender_head, face.race_head)
        rest = [head(tokens[:, row]) for head, row in zip(heads, (0, 4, 5, 6), strict=True)]
        return [face.expression_head(tokens[:, 7]), *rest]

    def _loss(
        self,
        answers: list[torch.Tensor],
        votes: torch.Tensor,
        landmarks: torch.Tensor,
        found: torch.Tensor,
        attributes: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy with votes and attributes, smooth L1 on landmarks; unknown ones count 0."""
        expression, points, *traits = answers
        # A mean over the faces that somebody voted on; the batch holds others beside them.
        votes = votes[:, : expression.shape[-1]]  # none where the network has no such head
        loss = -(votes * expression.log_softmax(-1)).sum() / (votes.sum(1) > 0).sum().clamp(min=1)
        error = F.smooth_l1_loss(
            points.unflatten(-1, (-1, 2)), landmarks, beta=0.1, reduction="none"
        ).mean((1, 2))  # (B,)
        loss = loss + self.stage.landmark_weight * (error * found).sum() / found.sum().clamp(min=1)
        for logits, target in zip(traits, attributes.unbind(-1), strict=True):
            entropy = F.cross_entropy(logits, target, ignore_index=-1, reduction="sum")
            loss = loss + self.stage.attribute_weight * entropy / (target >= 0).sum().clamp(min=1)
        return loss


class _Average(TrainerCallback):
    """Keeps the running average of the weights, and tells the model how far it is."""

    def __init__(self, model: FaceObjective, decay: float) -> None:
        self.model = model
        self.average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Takes the average up where the checkpoint left it."""
        known = read_average(args, state)
        if known is not None:
            self.average.load_state_dict(known)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Picks the crop size."""
        self.model.progress = self.average.module.progress = state.global_step / state.max_steps

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Averages."""
        self.average.update_parameters(self.model)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Writes the average beside the checkpoint."""
        write_average(args, state, self.average.state_dict())


class _FaceTrainer(Trainer):
    """Scores the averaged weights, since they are what is kept."""

    average: _Average

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> torch.utils.data.Sampler | None:
        stage, faces = self.model.stage, self.train_dataset
        if not stage.balance:
            return super()._get_train_sampler(*args, **kwargs)
        weights = balanced_weights(faces.table.votes.argmax(1), stage.balance)
        return BalancedSampler(np.append(weights, np.ones(faces.draws)), stage.seed)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """AdamW; gains, biases and norms do not decay."""
        parameters = list(self.model.parameters())
        decay = self.model.stage.weight_decay
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate, fused=True)
        return self.optimizer

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the parent, with the averaged model in the trained one's place."""
        trained, self.model = self.model, self.average.average.module
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self.model = trained


def _accuracy(prediction: Any) -> dict[str, float]:
    labels, guess = prediction.label_ids, prediction.predictions.argmax(-1)
    recalls = [(guess == labels)[labels == k].mean() for k in np.unique(labels)]
    return {"accuracy": float((guess == labels).mean()), "uar": float(np.mean(recalls))}


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
    torch.manual_seed(stage.seed)
    model = FaceObjective(stage)
    if start is not None:
        model.face = FaceXFormerModel.from_pretrained(
            start, config=model.face.config, use_safetensors=True, **READING
        )
    average = _Average(model, stage.ema_decay)
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
        save_strategy="epoch",
        save_total_limit=2,
        seed=stage.seed,
        report_to=[],
        remove_unused_columns=False,
        dataloader_drop_last=True,
        label_names=["labels"],
    )
    trainer = _FaceTrainer(
        model=model,
        args=arguments,
        train_dataset=FaceBatches(train, extra, stage.attribute_share),
        eval_dataset=None if validation is None else FaceBatches(validation),
        compute_metrics=_accuracy,
        callbacks=[average],
    )
    trainer.average = average
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(work_dir, [AVERAGE]))
    partial = out.with_name(out.name + ".part")
    average.average.module.face.save_pretrained(partial)
    partial.replace(out)
