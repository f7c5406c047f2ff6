"""What an image can be given as, beside a path: streams, rows of a data set, arrays and tensors.

Decides only how each becomes one of the few things that `emo_llama.media` reads.
"""

import io
import os
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from emo_llama.errors import MediaError, UsageError

PlainSource = str | os.PathLike | bytes | Image.Image | np.ndarray
if TYPE_CHECKING:  # torch takes seconds to import, and whoever has a tensor has it already
    import torch

    Source = PlainSource | IO[bytes] | Mapping[str, Any] | torch.Tensor
else:
    Source = Any

__all__ = ["Source", "plain_source"]


def plain_source(source: Source, max_bytes: int) -> PlainSource:
    """Turn what an image is given as into a path, bytes, a PIL image or an array.

    Args:
        source (`str`, `PathLike`, `bytes`, binary file, `dict`, `Image`, `np.ndarray` or `Tensor`):
            A dictionary is one of `datasets`, with `bytes` or `path`. A tensor has the shape
            (C, H, W), (H, W) or (H, W, C), and uint8 or float pixels in [0, 1]; where its shape
            can be read in two ways, the channels are first.
        max_bytes (`int`):
            The most that is read from an open file.

    Returns:
        `str`, `PathLike`, `bytes`, `PIL.Image.Image` or `np.ndarray`: What it comes to.

    Raises:
        MediaError: A dictionary without content, a file with too much, or another shape.
        UsageError: It is something else.
    """
    if isinstance(source, PlainSource):
        return source
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Mapping):
        given = source.get("bytes") if source.get("bytes") is not None else source.get("path")
        if not isinstance(given, (bytes, str, os.PathLike)):
            raise MediaError(
                "Expected an image dictionary with bytes or path, as datasets has it, got the keys "
                f"{sorted(map(str, source))}."
            )
        return given
    if isinstance(source, io.IOBase) and not isinstance(source, io.TextIOBase):
        return _content(source, max_bytes)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        return _pixels(source)
    raise UsageError(
        "Expected a path, bytes, a binary file, an image dictionary, a PIL image, a NumPy array or "
        f"a tensor, got {type(source).__name__}."
    )


def _content(stream: Any, max_bytes: int) -> bytes:
    """All of an open binary file, from its start."""
    if stream.seekable():
        stream.seek(0)
    content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise MediaError(f"An open file with more than the {max_bytes / 1e6:.0f} MB that are read.")
    return bytes(content)


def _pixels(tensor: "torch.Tensor") -> np.ndarray:
    """A tensor as an array with its channels behind."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    if tensor.ndim == 3 and tensor.shape[0] in (1, 3, 4):
        tensor = tensor.permute(1, 2, 0)  # (H, W, C)
    if tensor.ndim not in (2, 3):
        raise MediaError(
            f"Expected a tensor (C, H, W), (H, W) or (H, W, C), got {tuple(tensor.shape)}. Pass "
            "the images of a batch as a list."
        )
    return tensor.numpy()
