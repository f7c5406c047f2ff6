"""Which files of a visitor are worked on: pictures and clips uploaded here, and not too large.

What a file is, is told by its content, never by its name, and how much there is to decode in it is
known before anything is decoded. No other path is read on a visitor's word, no address followed.
What is done with a good picture or clip is left to the tabs.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from emo_llama.errors import InputNotFoundError, MediaError
from emo_llama.media import IMAGE_FORMATS
from emo_llama.modeling.media_emo_llama import measure_video

__all__ = ["check_inputs"]

MAX_PICTURE_PIXELS = 50_000_000
MAX_CLIP_SECONDS = 300
MAX_CLIP_PIXELS = 40_000_000_000  # of all frames: five minutes of 1920 x 1080 at 60 a second

EXPECTED = "a picture (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF) or a clip (MP4, MOV, WebM, MKV, AVI)"
# The first bytes of what is tried as a clip, at their places; a GIF is one as well.
CLIP_STARTS = (
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")),
    (0, b"\x1aE\xdf\xa3"),
    (8, b"AVI "),
    (0, b"\x00\x00\x01\xba"),
    (0, b"\x00\x00\x01\xb3"),
    (0, b"G@"),
    (0, b"0&\xb2u"),
    (0, b"FLV"),
    (0, b"OggS"),
    (0, b"GIF8"),
)


def check_inputs(inputs: Any, folder: Path) -> None:
    """Check every file that the inputs of an endpoint name, at any depth.

    Args:
        inputs (`list`):
            As the page or a client sent them. Addresses beside a path are removed: the server
            needs none, and must not follow one.
        folder (`Path`):
            Where uploads lie.

    Raises:
        MediaError: A file is none that was uploaded, no picture and no clip, or too large.
        InputNotFoundError: It was deleted since.
    """
    for named in _named_files(inputs):
        path, url = named.get("path"), named.pop("url", None)
        if path is None and url is None:
            continue
        is_name = isinstance(path, str) and "\0" not in path
        file = Path(os.path.realpath(str(path))) if is_name else folder
        if folder not in file.parents:
            raise MediaError(
                "Expected a file that was uploaded here; other paths and addresses are not read. "
                "Upload the picture or clip itself."
            )
        check_upload(file)


def _named_files(value: Any) -> Iterator[dict[str, Any]]:
    """The dictionaries of an input, at any depth, that name a file as gradio does."""
    if isinstance(value, dict):
        if "path" in value or "url" in value:
            yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _named_files(item)


def check_upload(path: Path) -> None:
    """Check what a file is, by its content, and how much there is to decode in it.

    Args:
        path (`Path`):
            The file; its age begins anew.

    Raises:
        MediaError: It is no picture and no clip, broken from the start, or too large.
        InputNotFoundError: It was deleted.
    """
    try:
        os.utime(path)
        with path.open("rb") as file:
            head = file.read(12)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputNotFoundError(f"{path.name}: no such file.") from error
    size = picture_size(path)
    if size is not None and size[0] * size[1] > MAX_PICTURE_PIXELS:
        limit = f"at most {MAX_PICTURE_PIXELS // 10**6} million are read"
        raise MediaError(f"{path.name}: {size[0]} x {size[1]} pixels, {limit}. Save it smaller.")
    if any(head[at:].startswith(start) for at, start in CLIP_STARTS):
        if size is None or head.startswith(b"GIF8"):
            check_clip(path)
    elif size is None:
        raise MediaError(f"{path.name}: expected {EXPECTED}, found other content.")


def picture_size(path: Path) -> tuple[int, int] | None:
    """The size of a picture by its header; nothing is decoded.

    Args:
        path (`Path`):
            The file.

    Returns:
        `tuple[int, int] | None`: Width and height, pixels; `None` where it is no picture.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the limit is ours
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as picture:
                return picture.size
        except Image.DecompressionBombError as error:
            raise MediaError(f"{path.name}: {error}. Save it smaller.") from error
        except Exception:  # Pillow promises no list of what a broken header raises
            return None


def check_clip(path: Path) -> None:
    """Check how long a clip is and how much there is to decode, before any frame is.

    Args:
        path (`Path`):
            The file.

    Raises:
        MediaError: It is no clip, broken from the start, or more than is worked on here.
    """
    try:
        with path.open("rb") as file:
            clip = measure_video(file, path.name)
    except ValueError as error:
        raise MediaError(str(error)) from error
    if clip.seconds > MAX_CLIP_SECONDS:
        limit = f"at most {MAX_CLIP_SECONDS / 60:.0f} are looked at here"
        raise MediaError(
            f"{path.name}: {clip.seconds / 60:.1f} minutes long, {limit}. Cut out what matters."
        )
    if clip.frames * clip.width * clip.height > MAX_CLIP_PIXELS:
        raise MediaError(
            f"{path.name}: {clip.frames} frames of {clip.width} x {clip.height} pixels are more "
            "than is decoded here. Cut it shorter, or save it smaller."
        )
