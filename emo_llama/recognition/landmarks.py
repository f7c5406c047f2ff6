"""Where the model's own face network sees the 68 landmarks of a face."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from emo_llama.boxes import Box, grow
from emo_llama.modeling import EmoLlamaForConditionalGeneration, EmoLlamaProcessor

__all__ = ["place_landmarks"]


@torch.inference_mode()
def place_landmarks(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    images: Sequence[Image.Image],
    boxes: Sequence[Box],
) -> list[np.ndarray | None]:
    """Place the landmarks of each face.

    Args:
        model ([`EmoLlamaForConditionalGeneration`]):
            The model.
        processor ([`EmoLlamaProcessor`]):
            Its processor.
        images (`Sequence[PIL.Image.Image]`):
            Pictures, RGB.
        boxes (`Sequence[tuple[float, float, float, float]]`):
            The face of each picture, xyxy pixels.

    Returns:
        `list[np.ndarray | None]`: (68, 2) float32, pixels of the picture; `None` each where the
        model has no face network.
    """
    face_model = model.model.face_model
    if face_model is None:
        return [None] * len(images)
    image_processor = processor.image_processor
    inputs = image_processor(list(images), face_boxes=list(boxes), return_tensors="pt")
    crops = inputs["face_pixel_values"].to(model.device, model.dtype)
    points = face_model.encode(crops)[2].float().cpu().numpy()  # (n, 68, 2) in [-1, 1]
    regions = [
        grow(box, image_processor.face_margin, image.size)
        for image, box in zip(images, boxes, strict=True)
    ]
    return [
        (xy + 1) / 2 * np.subtract(r[2:], r[:2]) + np.array(r[:2])
        for xy, r in zip(points, regions, strict=True)
    ]
