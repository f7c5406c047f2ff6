"""Reads images and videos that nobody has vetted.

Images are recognised by their first bytes, never by their name; only four formats are tried, the
number of bytes and pixels is capped before anything is decoded, and what comes out is RGB as
displayed. Videos are decoded in a child process (`emo_llama/_video_decoder.py`), because a
broken file can kill the interpreter that decodes it (PyAV-Org/PyAV#2344). Finding faces is left
to `emo_llama.faces`.
"""

import io
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from emo_llama.errors import InputNotFoundError, MediaError, UsageError

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})
MAX_IMAGE_BYTES = 100_000_000
MAX_IMAGE_PIXELS = 90_000_000
MAX_VIDEO_SIDE = 4096
MAX_FRAME_SECONDS = 120  # how long the decoder may take to the next sampled frame

logger = logging.getLogger(__name__)

_DECODER = Path(__file__).with_name("_video_decoder.py")
_FRAME_HEADER = struct.Struct("<dII")


@dataclass(frozen=True)
class VideoFrame:
    """One sampled frame of a video.

    Attributes:
        time (`float`):
            Seconds from the start of the video.
        image (`PIL.Image.Image`):
            The frame as displayed, RGB.
    """

    time: float
    image: Image.Image


def read_image(source: str | os.PathLike | bytes | Image.Image | np.ndarray) -> Image.Image:
    """Read one image as RGB, turned as its EXIF orientation says.

    Args:
        source (`str`, `PathLike`, `bytes`, `PIL.Image.Image` or `np.ndarray`):
            A file, its content, an opened image, or pixels (H, W), (H, W, 3) or (H, W, 4), uint8
            or float in [0, 1].

    Returns:
        `PIL.Image.Image`: The image, mode RGB; transparent parts lie on white.

    Raises:
        InputNotFoundError: There is no such file.
        MediaError: The file is not an image of a known format, is broken, or is too large.

    Example:
    ```python
    >>> import numpy as np
    >>> from emo_llama.media import read_image

    >>> read_image(np.zeros((4, 6, 3), dtype=np.uint8)).size
    (6, 4)
    ```
    """
    if isinstance(source, np.ndarray):
        return to_rgb(_image_from_array(source))
    if isinstance(source, Image.Image):
        return _decode(source, "the image")
    if isinstance(source, bytes):
        return _decode(_open_image(io.BytesIO(source), "the given bytes"), "the given bytes")
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(
            f"Expected a path, bytes, a PIL image or a NumPy array, got {type(source).__name__}."
        )
    path = check_file(source, MAX_IMAGE_BYTES)
    with path.open("rb") as stream:
        return _decode(_open_image(stream, str(path)), str(path))


def check_file(source: str | os.PathLike, max_bytes: int | None = None) -> Path:
    """Make sure that a path is a regular, readable file of sensible size.

    Args:
        source (`str` or `PathLike`):
            The path.
        max_bytes (`int`, *optional*):
            The largest size allowed, bytes.

    Returns:
        `Path`: The path.

    Raises:
        InputNotFoundError: There is no such file.
        MediaError: It is not a regular file, cannot be read, is empty or too large.
    """
    path = Path(source)
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file. Check the spelling of the path.")
    if path.is_dir():
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise MediaError(f"{path}: a folder without images and videos (looked for {known}).")
    if not path.is_file():
        raise MediaError(f"{path}: expected a file, found something else (a device or a pipe).")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path}: this file may not be read. Change its permissions.")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"{path}: the file is empty.")
    if max_bytes is not None and size > max_bytes:
        raise MediaError(
            f"{path}: {size / 1e6:.0f} MB, more than the {max_bytes / 1e6:.0f} MB that are read. "
            "Save it smaller."
        )
    return path


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB as a viewer would show it.

    Args:
        image (`PIL.Image.Image`):
            The image.

    Returns:
        `PIL.Image.Image`: Mode RGB; transparent parts lie on white, 16-bit grey is scaled.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):  # 16 and 32 bit grey; convert() would clip at 255
        values = np.asarray(image, dtype=np.float32)
        scale = 255.0 / 65535.0 if values.max(initial=0.0) > 255.0 else 1.0
        grey = (values * scale).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def media_kind(path: str | os.PathLike) -> str:
    """Tell a video from an image by the file's suffix.

    Args:
        path (`str` or `PathLike`):
            The path.

    Returns:
        `str`: `"video"` for the suffixes of `VIDEO_SUFFIXES`, else `"image"`.
    """
    return "video" if Path(path).suffix.lower() in VIDEO_SUFFIXES else "image"


def find_media(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """Expand folders to the images and videos in them, at any depth, sorted by path.

    Args:
        paths (`Sequence[str | PathLike]`):
            Files and folders. Files are taken as they are, whatever their name.

    Returns:
        `list[Path]`: The files, in the given order, each once. A folder that holds none stands for
        itself, so that reading it says so.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found[path] = None
            continue
        files = sorted(p for p in path.rglob("*") if _is_media(p))
        found.update(dict.fromkeys(files or [path]))
    return list(found)


def read_video(
    source: str | os.PathLike, fps: float = 4.0, max_frames: int = 64
) -> Iterator[VideoFrame]:
    """Sample the frames of a video, one after the other, in a child process.

    Memory does not grow with the video: only the frame in hand is held.

    Args:
        source (`str` or `PathLike`):
            The file.
        fps (`float`, *optional*, defaults to 4.0):
            Frames a second of the video to sample.
        max_frames (`int`, *optional*, defaults to 64):
            The most frames to sample; longer videos are sampled more thinly, evenly.

    Yields:
        `VideoFrame`: The frames in order of time.

    Raises:
        InputNotFoundError: There is no such file.
        MediaError: The file is no video, is broken from the start, or takes too long to decode.
    """
    path = check_file(source)
    options = {"path": str(path), "fps": fps, "max_frames": max_frames, "max_side": MAX_VIDEO_SIDE}
    # -P keeps the current folder off the child's import path; the decoder needs only PyAV.
    command = [sys.executable, "-P", str(_DECODER), json.dumps(options)]
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints)
        last = None
        try:
            while frame := _next_frame(child):
                last = frame
                yield frame
            status = child.wait(MAX_FRAME_SECONDS)
        finally:
            child.kill()
            child.communicate()
        if last is None:
            raise MediaError(f"{path}: {_complaint(complaints, status)}")
        if status != 0:
            logger.warning(f"{path}: broken after {last.time:.1f} s; the rest is left out.")


def _is_media(path: Path) -> bool:
    """Whether a file in a folder is worth trying: known suffix, not hidden, nothing special."""
    known = path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    return known and not path.name.startswith(".") and path.is_file()


def _image_from_array(array: np.ndarray) -> Image.Image:
    """Turn (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) pixels into an image."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise MediaError(f"Expected an array (H, W), (H, W, 3) or (H, W, 4), got {array.shape}.")
    if array.size == 0:
        raise MediaError(f"Expected an array with pixels, got shape {array.shape}.")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MediaError("Expected float pixels in [0, 1]; divide by 255 or pass uint8.")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise MediaError(f"Expected pixels of type uint8 or float, got {array.dtype}.")
    return Image.fromarray(np.ascontiguousarray(array))


def _open_image(stream: IO[bytes], name: str) -> Image.Image:
    """Open an image by its first bytes, before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            # The cap below is ours and always an error; Pillow's own warning comes only later.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(stream, formats=IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        known = ", ".join(IMAGE_FORMATS)
        raise MediaError(
            f"{name}: not an image that can be read (expected {known}, found other content)."
        ) from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name}: {error}. Save it smaller.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(f"{name}: this image is broken ({error}). Save it again.") from error


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Check the size, decode the pixels, turn and convert them."""
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise MediaError(
            f"{name}: {width} x {height} pixels, more than the {MAX_IMAGE_PIXELS / 1e6:.0f} "
            "million that are read. Save it smaller."
        )
    if width == 0 or height == 0:
        raise MediaError(f"{name}: the image has no pixels ({width} x {height}).")
    try:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise MediaError(
            f"{name}: this image is broken or cut off ({error}). Copy or save it again."
        ) from error


def _next_frame(child: subprocess.Popen) -> VideoFrame | None:
    """Read what the decoder writes next: a header (time, width, height) and RGB bytes.

    Only the wait for the decoder counts against its time, not what the reader does in between.
    """
    assert child.stdout is not None  # as it was started; for the type checker
    watchdog = threading.Timer(MAX_FRAME_SECONDS, child.kill)
    watchdog.start()
    try:
        header = child.stdout.read(_FRAME_HEADER.size)
        if len(header) < _FRAME_HEADER.size:
            return None
        time, width, height = _FRAME_HEADER.unpack(header)
        pixels = child.stdout.read(width * height * 3)
    finally:
        watchdog.cancel()
    if len(pixels) < width * height * 3:
        return None
    return VideoFrame(time, Image.frombytes("RGB", (width, height), pixels))


def _complaint(complaints: Any, status: int) -> str:
    """Say why the decoder gave no frame."""
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    if status == -signal.SIGKILL:
        return (
            f"no frame came within {MAX_FRAME_SECONDS} s, or the system stopped the decoder. Cut "
            "the video into shorter pieces."
        )
    if status < 0:
        return f"this video is broken (it stopped the decoder with signal {-status})."
    if status == 0:
        return "no frame could be decoded from this video."
    return f"this video cannot be read ({lines[-1] if lines else f'exit status {status}'})."
