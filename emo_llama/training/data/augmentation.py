"""Random changes of face crops that leave the expression as it is; landmarks move along."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from emo_llama.modeling.modeling_facexformer import LANDMARK_MIRROR

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey (ITU-R 601, as PIL has it)."""


def augment(
    images: torch.Tensor, landmarks: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random mirror, rotation, scale, shift, contrast, brightness and a blank rectangle.

    Args:
        images (`torch.Tensor` of shape `(B, C, S, S)`): Values in [0, 1].
        landmarks (`torch.Tensor` of shape `(B, 68, 2)`): In [-1, 1].
        size (`int`): Side of the result, in pixels.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`:
            Images (B, C, size, size), and the landmarks moved along.
    """
    count = len(images)
    uniform = lambda low, high: torch.empty(count).uniform_(low, high)  # noqa: E731
    angle, scale, mirror = (
        uniform(-0.2, 0.2),
        uniform(0.85, 1.05),
        (torch.rand(count) < 0.5).float() * -2 + 1,
    )
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack(
        [torch.stack([cos * mirror, -sin], -1), torch.stack([sin * mirror, cos], -1)], -2
    )  # (B, 2, 2)
    shift = torch.stack([uniform(-0.08, 0.08), uniform(-0.08, 0.08)], -1)[..., None]  # (B, 2, 1)
    # affine_grid says for each point of the result where it comes from: in = matrix @ out + shift
    grid = F.affine_grid(
        torch.cat([matrix, shift], -1), list(images.shape[:2]) + [size, size], align_corners=False
    )
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # landmarks go the other way, from the picture to the result
    moved = torch.linalg.solve(
        matrix, (landmarks - shift.transpose(1, 2)).transpose(1, 2)
    ).transpose(1, 2)  # (B, 68, 2)
    # in a mirror the left eye's points are the right eye's
    moved = torch.where(mirror[:, None, None] < 0, moved[:, list(LANDMARK_MIRROR)], moved)
    # contrast, then brightness
    images = (
        (images - 0.5) * uniform(0.8, 1.2)[:, None, None, None]
        + 0.5
        + uniform(-0.1, 0.1)[:, None, None, None]
    )
    images = images.clamp(0, 1)
    # a grey rectangle over half of the faces, so that no single feature decides
    ticks = torch.linspace(0, 1, size)
    centre, half = torch.rand(count, 2, 1), torch.empty(count, 2, 1).uniform_(0.05, 0.18)
    inside = (ticks - centre).abs() < half  # (B, 2, size)
    blank = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None] & (torch.rand(count) < 0.5)[
        :, None, None, None
    ]  # (B, 1, size, size)
    return torch.where(blank, 0.5, images), moved


def recolour(images: torch.Tensor) -> torch.Tensor:
    """Random saturation, half of the faces in grey; then a random tint, again of half of them.

    So grey faces and coloured ones pass for the same, whichever of them carry labels.

    Args:
        images (`torch.Tensor` of shape `(B, 3, S, S)`): Red, green, blue in [0, 1].

    Returns:
        `torch.Tensor` of shape `(B, 3, S, S)`: The same in other colours.
    """
    count = len(images)
    grey = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    saturation = torch.empty(count, 1, 1, 1).uniform_(0.5, 1.5)
    saturation = saturation * (torch.rand(count, 1, 1, 1) < 0.5)
    tint = torch.empty(count, 3, 1, 1).uniform_(0.85, 1.15)
    tint = torch.where(torch.rand(count, 1, 1, 1) < 0.5, tint, 1.0)
    return ((grey + saturation * (images - grey)) * tint).clamp(0, 1)


def mix(
    images: torch.Tensor, votes: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lays a second face thinly over some, and mixes the votes of both likewise (mixup).

    The first face stays the stronger one, so that its landmarks and attributes hold on. Faces
    without votes are neither changed nor laid over others.

    Args:
        images (`torch.Tensor` of shape `(B, C, S, S)`): Faces.
        votes (`torch.Tensor` of shape `(B, K)`): Vote distributions; zeros where unknown.
        share (`float`): Of the faces that are chosen.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Images and votes, mixed.
    """
    count = len(images)
    other = torch.randperm(count)
    weight = torch.distributions.Beta(0.4, 0.4).sample((count,))
    weight = torch.maximum(weight, 1 - weight)
    known = votes.sum(1) > 0
    weight = torch.where((torch.rand(count) < share) & known & known[other], weight, 1.0)
    cells = weight[:, None, None, None]
    mixed = cells * images + (1 - cells) * images[other]
    return mixed, weight[:, None] * votes + (1 - weight[:, None]) * votes[other]


@dataclass(slots=True)
class AugmentedFaces:
    """A transform of `datasets.Dataset.with_transform` that changes the pictures of each row.

    Frozen encoders know the faces that they were trained on better than any others. Shown
    unchanged, these would have the language model trust its encoders more than it should.

    What happens to a batch depends on its rows, the seed and the epoch alone: rows are read ahead
    of the steps that use them, so that a run which goes on from a checkpoint would otherwise see
    other changes than one that was not cut off.

    Args:
        size (`int`): Side of the pictures that come out, in pixels.
        seed (`int`, *optional*, defaults to 0): Of the changes.
        epoch (`int`, *optional*, defaults to 0): Moved on from outside.
    """

    size: int
    seed: int = 0
    epoch: int = 0

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Columns of a batch of rows -> the same with changed `images`, mode L."""
        side = (self.size, self.size)
        images = [
            image.convert("L").resize(side, Image.Resampling.BICUBIC)
            for pictures in rows["images"]
            for image in pictures
        ]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))[:, None]
        key = f"{self.seed} {self.epoch} {rows.get('messages')}".encode() + pixels.numpy().tobytes()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(zlib.crc32(key))  # of the CPU alone
            nowhere = torch.zeros(len(images), len(LANDMARK_MIRROR), 2)
            changed, _ = augment(pixels / 255, nowhere, self.size)
        arrays = iter((changed[:, 0] * 255).round().to(torch.uint8).numpy())
        pictures = [
            [Image.fromarray(next(arrays)) for _ in pictures] for pictures in rows["images"]
        ]
        return rows | {"images": pictures}
