"""Where the model's own face network sees the 68 landmarks of a face."""

import numpy as np
import torch

from emo_llama.modeling import EmoLlamaEncodings

__all__ = ["place_landmarks"]


def place_landmarks(
    encodings: EmoLlamaEncodings, regions: torch.Tensor | None
) -> list[np.ndarray | None]:
    """Place the landmarks of each face.

    Args:
        encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
            A row a face.
        regions (`torch.LongTensor` of shape (n, 4), *optional*):
            What the image processor cut for each, xyxy pixels of the picture.

    Returns:
        `list[np.ndarray | None]`: (68, 2) float32, pixels of the picture; `None` each where the
        model has no face network.
    """
    if encodings.landmarks is None or regions is None:
        return [None] * encodings.num_frames
    points = encodings.landmarks.float().cpu().numpy()  # (n, 68, 2) in [-1, 1]
    corners = regions.float().cpu().numpy().reshape(-1, 2, 1, 2)  # (n, 2 corners, 1, xy)
    return list((points + 1) / 2 * (corners[:, 1] - corners[:, 0]) + corners[:, 0])
