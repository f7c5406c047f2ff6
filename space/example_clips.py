"""Clips to try, free of anybody's rights: drawn faces, and a public portrait that comes into focus.

They are made when the page starts, out of what the package has.
"""

from pathlib import Path

from PIL import Image, ImageFilter

from emo_llama.dataset_builders.synthetic_clips import drawn_frames, write_video
from emo_llama.loading import EMBEDDED_MODEL

__all__ = ["write_example_clips"]

CODEC = "h264"  # what every browser shows
SIZE = 320


def write_example_clips(folder: Path) -> dict[str, Path]:
    """Write the clips.

    Args:
        folder (`Path`): Where.

    Returns:
        `dict[str, Path]`: The files, by what they show.
    """
    clips = {
        "A portrait that comes into focus (NASA)": (folder / "portrait.mp4", _portrait()),
        "Two drawn faces": (folder / "drawn.mp4", _drawn()),
    }
    for path, frames in clips.values():
        write_video(path, frames, CODEC)
    return {name: path for name, (path, _) in clips.items()}


def _portrait() -> list[Image.Image]:
    """Four seconds in which a blurred portrait grows sharp while the camera moves."""
    with Image.open(EMBEDDED_MODEL.parent / "portrait.jpg") as picture:
        portrait = picture.convert("RGB")
    frames = []
    for step in range(40):
        left, top, side = 40 + step, 10 + step // 2, 380 - 2 * step
        view = portrait.crop((left, top, left + side, top + side)).resize((SIZE, SIZE))
        frames.append(view.filter(ImageFilter.GaussianBlur(max(0.0, 9 - step / 2.5))))
    return frames


def _drawn() -> list[Image.Image]:
    """Four seconds in which one drawn face grows surprised, and another angry."""
    left, right = drawn_frames("surprise", 3, 40, SIZE), drawn_frames("anger", 9_000, 40, SIZE)
    frames = []
    for one, other in zip(left, right, strict=True):
        frame = Image.new("RGB", (2 * SIZE, SIZE))
        frame.paste(one)
        frame.paste(other, (SIZE, 0))
        frames.append(frame)
    return frames
