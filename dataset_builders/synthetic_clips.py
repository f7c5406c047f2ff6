"""Drawn clips for the synthetic copies of clip sets: a face that goes from neutral to a label.

Files are real: MPEG-4 video in an mp4 file, or JPEG frames in a folder. How a face looks is
`synthetic`'s part, where it lies the builders'.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
from PIL import Image

from emo_llama.dataset_builders.synthetic import draw_face

__all__ = ["drawn_frames", "in_test", "write_clip", "write_frames", "write_video"]

FRAMES_A_SECOND = 10


def write_clip(path: Path, label: str, seed: int, num_frames: int = 8, size: int = 64) -> None:
    """Write a clip as a video file.

    Args:
        path (`Path`): The file; its suffix decides the container, its folder is made.
        label (`str`): The expression at the end.
        seed (`int`): Two seeds never give the same face.
        num_frames (`int`, *optional*, defaults to 8): Frames, ten a second.
        size (`int`, *optional*, defaults to 64): Side, pixels; even.
    """
    write_video(path, drawn_frames(label, seed, num_frames, size))


def write_video(path: Path, frames: Sequence[Image.Image], codec: str = "mpeg4") -> None:
    """Write pictures as a video file, ten a second.

    Args:
        path (`Path`): The file; its suffix decides the container, its folder is made.
        frames (`Sequence[PIL.Image.Image]`): Pictures of one size, of even sides, RGB.
        codec (`str`, *optional*, defaults to `"mpeg4"`):
            As FFmpeg names it; browsers show `"h264"`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FRAMES_A_SECOND)  # typed by literal names
        (stream.width, stream.height), stream.pix_fmt = frames[0].size, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def write_frames(
    folder: Path, label: str, seed: int, name: str, num_frames: int = 8, size: int = 64
) -> None:
    """Write a clip as a folder of JPEG frames.

    Args:
        folder (`Path`): The folder; it is made.
        label (`str`): The expression at the end.
        seed (`int`): Two seeds never give the same face.
        name (`str`): Name of a frame, with `{}` for its number, from 1.
        num_frames (`int`, *optional*, defaults to 8): Frames.
        size (`int`, *optional*, defaults to 64): Side, pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(drawn_frames(label, seed, num_frames, size), 1):
        image.save(folder / name.format(number), "JPEG", quality=90)


def in_test(copy: int, per_class: int, fold: int) -> bool:
    """Whether a clip is in the test split of a fold, so that half of each class always is.

    Args:
        copy (`int`): Which clip of its class, from 0 to twice `per_class`.
        per_class (`int`): Clips of each class and split.
        fold (`int`): From 1; the test split moves on by one clip from fold to fold.

    Returns:
        `bool`: Test; otherwise training.
    """
    return (copy - fold + 1) % (2 * per_class) < per_class


def drawn_frames(label: str, seed: int, num_frames: int, size: int) -> list[Image.Image]:
    """Draw a neutral face that becomes the label's, evenly.

    Args:
        label (`str`): The expression at the end.
        seed (`int`): Two seeds never give the same face.
        num_frames (`int`): How many pictures.
        size (`int`): Side, pixels.

    Returns:
        `list[PIL.Image.Image]`: In order of time.
    """
    first, last = (draw_face(name, seed, size) for name in ("neutral", label))
    steps = max(num_frames - 1, 1)
    return [Image.blend(first, last, step / steps) for step in range(num_frames)]
