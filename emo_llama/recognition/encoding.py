"""From pictures to encodings: prepared and looked at once, however much is asked about them."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from emo_llama.boxes import Box
from emo_llama.modeling import (
    EmoLlamaEncodings,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)

__all__ = ["encode_pictures"]


@torch.inference_mode()
def encode_pictures(
    model: EmoLlamaForConditionalGeneration,
    processor: EmoLlamaProcessor,
    images: Sequence[Image.Image],
    boxes: Sequence[Box | None] | None = None,
    **settings: Any,
) -> tuple[EmoLlamaEncodings, torch.Tensor | None]:
    """Prepare pictures and run the encoders on them.

    Args:
        model ([`~emo_llama.modeling.EmoLlamaForConditionalGeneration`]):
            The model.
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            Its processor.
        images (`Sequence[PIL.Image.Image]`):
            Pictures, RGB; one at least.
        boxes (`Sequence[tuple[float, float, float, float] | None]`, *optional*):
            The face of each picture, xyxy pixels, or `None` where there is none. Without it each
            whole picture is the face.
        settings (`dict`, *optional*):
            Of the image processor, as `do_pad`.

    Returns:
        `tuple[EmoLlamaEncodings, torch.LongTensor | None]`: A row a picture, on the model's device,
        and the region that was cut for each face, (n, 4) xyxy pixels; `None` where the processor
        cuts no faces.
    """
    inputs = processor.image_processor(
        list(images),
        face_boxes=None if boxes is None else list(boxes),
        return_tensors="pt",
        **settings,
    )
    regions = inputs.pop("face_regions", None)
    return model.encode(**inputs.to(model.device)), regions
