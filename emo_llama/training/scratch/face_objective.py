"""What the face network is trained on: settings of a stage, pictures of a batch, and losses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from emo_llama.modeling import FaceXFormerConfig, FaceXFormerModel
from emo_llama.training.data.augmentation import augment, mix, recolour
from emo_llama.training.scratch.face_tables import FaceTable

__all__ = ["FaceBatches", "FaceObjective", "FaceStage"]


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
        backbone (`str`, *optional*):
            Folder or Hub repository whose backbone the first stage begins with: what `emo-llama
            convert faceres` wrote, or any backbone of transformers of the kind that `model` names.
        early_rate (`float`, *optional*, defaults to 1.0):
            Learning rate of the backbone's first layer, as a share of `learning_rate`; from there
            it grows geometrically to the last layer.
        color (`bool`, *optional*, defaults to `False`):
            Show FairFace in its colours, and all faces in random ones, half of them grey. Otherwise
            all is grey, and the model's processor turns faces grey.
        mixup (`float`, *optional*, defaults to 0.0):
            Share of the FERPlus faces over which another one is laid thinly.
        image_mean (`list[float]`, *optional*): Red, green and blue that become 0, of values in
            [0, 1]; a pretrained backbone has its own.
        image_std (`list[float]`, *optional*): What they are divided by then.
        bf16 (`bool`, *optional*, defaults to `False`):
            Mixed precision; a processor gains from it only where it has instructions for it.
        save_steps (`int`, *optional*, defaults to 0): Steps between checkpoints; 0: every epoch.
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
    backbone: str | None = None
    early_rate: float = 1.0
    color: bool = False
    mixup: float = 0.0
    image_mean: Sequence[float] = (0.5, 0.5, 0.5)
    image_std: Sequence[float] = (0.25, 0.25, 0.25)
    bf16: bool = False
    save_steps: int = 0


class FaceBatches(torch.utils.data.Dataset):
    """Rows of FERPlus, then those of FairFace; with `color` every picture has three channels."""

    def __init__(
        self, table: FaceTable, extra: FaceTable | None = None, color: bool = False
    ) -> None:
        self.table, self.extra, self.color = table, extra, color

    def __len__(self) -> int:
        return len(self.table) + (0 if self.extra is None else len(self.extra))

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        table, row = self.table, index
        if index >= len(self.table) and self.extra is not None:
            table, row = self.extra, index - len(self.table)
        fields = ("images", "votes", "labels", "landmarks", "found", "attributes")
        item = {name: torch.as_tensor(getattr(table, name)[row]) for name in fields}
        if self.color and item["images"].ndim == 2:  # grey
            item["images"] = item["images"][..., None].expand(-1, -1, 3)
        return item


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
        """Images (B, S, S) or (B, S, S, 3) and targets of [`FaceTable`] -> `loss`, `logits`."""
        pixels = self.pixels(images)
        size = int([pixel for start, pixel in self.stage.sizes if start <= self.progress][-1])
        if self.training:
            pixels, landmarks = augment(pixels, landmarks, size)
            if self.stage.color:
                pixels = recolour(pixels)
            if self.stage.mixup:
                pixels, votes = mix(pixels, votes, self.stage.mixup)
        else:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        maps = self.face.get_backbone_maps(self.normalised(pixels))
        targets = (votes, landmarks, found, attributes)
        pooled = maps[-1].mean((2, 3))  # (B, C)
        answers = [head(pooled) for head in self.pooled_heads]
        loss = self._loss(answers, *targets)
        # Half of the cost, and of little use before the maps say something.
        if self.progress >= self.stage.decoder_start:
            answers = self._decoded(maps)
            loss = 0.5 * loss + self._loss(answers, *targets)
        return {"loss": loss, "logits": answers[0]}

    @staticmethod
    def pixels(images: torch.Tensor) -> torch.Tensor:
        """Grey (B, S, S) or coloured (B, S, S, 3) uint8 -> (B, 1 or 3, S, S) in [0, 1]."""
        channels = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return channels.float() / 255

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Grey or coloured (B, 1 or 3, S, S) in [0, 1] -> (B, 3, S, S) as the backbone has it."""
        mean, std = (
            pixels.new_tensor(values)[:, None, None]
            for values in (self.stage.image_mean, self.stage.image_std)
        )
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)

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
