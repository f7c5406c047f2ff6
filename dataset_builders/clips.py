"""Sampled frames of a clip, whether it is a video file or a folder of frames.

Frames are JPEG bytes, evenly spaced over the clip; which clip and how many frames is the caller's
choice.
"""

import io
import re
from pathlib import Path

from emo_llama.errors import MediaError
from emo_llama.media import IMAGE_SUFFIXES, read_image, read_video

__all__ = ["read_clip"]

QUALITY = 92
"""Of the JPEG encoding of decoded frames."""

EVERY_FRAME = 1000.0
"""Frames a second; so many that only their number thins them out."""


def read_clip(path: Path, num_frames: int) -> tuple[bytes, ...]:
    """Frames that stand for a clip.

    Args:
        path (`Path`):
            A video file, or a folder of pictures whose names tell the order of time; numbers in
            them count by their value, so that `2.jpg` comes before `10.jpg`.
        num_frames (`int`):
            How many; a clip with fewer gives all that it has.

    Returns:
        `tuple[bytes, ...]`: JPEG or, from a folder, the pictures as they are stored.

    Raises:
        InputNotFoundError: There is no such file.
        MediaError: It cannot be decoded, or holds no frame.
    """
    if path.is_dir():
        return _from_folder(path, num_frames)
    frames = [frame.image for frame in read_video(path, fps=EVERY_FRAME, max_frames=num_frames)]
    if not frames:
        raise MediaError(f"{path}: expected frames, found none. Fetch the clip again.")
    encoded = []
    for image in frames:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        encoded.append(buffer.getvalue())
    return tuple(encoded)


def _from_folder(path: Path, num_frames: int) -> tuple[bytes, ...]:
    files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    # macOS leaves a hidden "._1.jpg" beside "1.jpg" when it unpacks an archive.
    files = sorted((file for file in files if not file.name.startswith(".")), key=_by_number)
    if not files:
        raise MediaError(f"{path}: expected a folder of frames, found no picture in it.")
    count = min(num_frames, len(files))
    chosen = [files[int((place + 0.5) * len(files) / count)] for place in range(count)]
    for file in chosen:
        read_image(file)  # a broken frame ends in a message here
    return tuple(file.read_bytes() for file in chosen)


def _by_number(file: Path) -> list[int | str]:
    """Sorts names as people count: text and numbers alternate, so that like meets like."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]
