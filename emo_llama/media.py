"""Reads images and videos that nobody has vetted.

Images are recognised by their first bytes, never by their name; only the formats below are tried,
bytes, sides and pixels are capped before anything is decoded, and what comes out is RGB as
displayed, without metadata. Videos are decoded in a child process, by the code that travels with
the model (`modeling/media_emo_llama.py`). Finding faces is left to `emo_llama.faces`.
"""

import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from emo_llama.errors import EmoLlamaError, InputNotFoundError, MediaError, UsageError, require
from emo_llama.metadata import without_metadata
from emo_llama.sources import Source, plain_source

if TYPE_CHECKING:  # transformers takes seconds to import, and finding files needs none of it
    from emo_llama.modeling.media_emo_llama import VideoFrame

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .avif .heic .heif .hif".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .avi .divx .mkv .webm .mpg .mpeg .mpe .m1v .m2v .vob .ts .m2ts .mts .3gp "
    ".3g2 .wmv .asf .flv .f4v .ogv .mxf".split()
)
MAX_IMAGE_BYTES = 100_000_000
MAX_IMAGE_PIXELS = 90_000_000  # decoded whole
MAX_REDUCED_PIXELS = 178_000_000  # decoded at half size; Pillow opens no more
MAX_IMAGE_SIDE = 32_766  # OpenCV, below the detectors, counts in 16 bits
MAX_ASPECT = 100  # a strip has no face, and pictures are padded to squares

_TS_PACKET = 188  # bytes; each begins with the same byte


class FoundMedia(NamedTuple):
    """What [`find_media`] found.

    Attributes:
        files (`list[Path]`):
            The images and videos.
        left_out (`Counter[str]`):
            How many other files of the folders there are, by suffix, and how many links, folders
            and special files were not followed, by a word for them.
    """

    files: list[Path]
    left_out: Counter[str]


def read_image(source: Source) -> Image.Image:
    """Read one image as RGB, turned as its EXIF orientation says.

    Args:
        source (`str`, `PathLike`, `bytes`, binary file, `dict`, `Image`, `np.ndarray` or `Tensor`):
            A file, its content, an image of `datasets`, an opened image, or pixels (H, W),
            (H, W, 3) or (H, W, 4), uint8 or float in [0, 1]; of a tensor also (C, H, W).

    Returns:
        `PIL.Image.Image`: The image, mode RGB, without metadata; transparent parts lie on white.
        Of an animation it is the first frame.

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
    return _read(source, MAX_IMAGE_PIXELS)[0]


def read_reduced_image(source: Source) -> tuple[Image.Image, float]:
    """Read one image as [`read_image`] does, a very large one at half its size.

    Args:
        source (`str`, `PathLike`, `bytes`, `PIL.Image.Image` or `np.ndarray`):
            As in [`read_image`].

    Returns:
        `tuple[PIL.Image.Image, float]`: The image, and the pixels of the source along one of its
        pixels: 1.0, or 2.0 for more than 90 million pixels.

    Raises:
        InputNotFoundError: There is no such file.
        MediaError: The file is not an image of a known format, is broken, or is too large.
    """
    return _read(source, MAX_REDUCED_PIXELS)


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
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        message = f"{path}: no such file. Check the spelling of the path."
        raise InputNotFoundError(message) from error
    except OSError as error:
        raise MediaError(f"{path}: this file cannot be read ({error.strerror}).") from error
    if path.is_dir():
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise MediaError(f"{path}: a folder without images and videos (looked for {known}).")
    if not path.is_file():
        raise MediaError(f"{path}: expected a file, found something else (a device or a pipe).")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path}: this file may not be read. Change its permissions.")
    if size == 0:
        raise MediaError(f"{path}: the file is empty.")
    if max_bytes is not None and size > max_bytes:
        limit = f"{max_bytes / 1e6:.0f} MB"
        raise MediaError(f"{path}: {size / 1e6:.0f} MB, at most {limit} are read. Save it smaller.")
    return path


def media_kind(path: str | os.PathLike) -> str:
    """Tell a video from an image by the file's suffix.

    Args:
        path (`str` or `PathLike`):
            The path.

    Returns:
        `str`: `"video"` for the suffixes of `VIDEO_SUFFIXES`, else `"image"`.
    """
    return "video" if Path(path).suffix.lower() in VIDEO_SUFFIXES else "image"


def find_media(paths: Sequence[str | os.PathLike]) -> FoundMedia:
    """Expand folders to the images and videos in them, at any depth, sorted by path.

    Links in a folder are followed to files of that folder only, so that a folder of unknown origin
    cannot name files elsewhere.

    Args:
        paths (`Sequence[str | PathLike]`):
            Files and folders. Files are taken as they are, whatever their name.

    Returns:
        [`FoundMedia`]: The files, in the given order, each once, and what was left out. A folder
        that holds none stands for itself, so that reading it says so.

    Raises:
        UsageError: A name is empty.
    """
    found: dict[Path, None] = {}
    left_out: Counter[str] = Counter()
    for path in paths:
        if not os.fspath(path):
            raise UsageError(
                "Expected the name of a file or folder, got an empty one. Write . for the current "
                "folder; perhaps a variable of the shell is not set."
            )
        if os.path.isdir(path):
            files = sorted(_media_in(os.fspath(path), left_out))
            found.update(dict.fromkeys(files or [Path(path)]))
        else:
            found[Path(path)] = None
    return FoundMedia(list(found), left_out)


def read_video(
    source: str | os.PathLike, fps: float = 4.0, max_frames: int = 64
) -> Iterator["VideoFrame"]:
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
    from emo_llama.modeling.media_emo_llama import sample_video

    path = check_file(source)
    with path.open("rb") as file:
        try:
            yield from sample_video(file, str(path), fps, max_frames)
        except ValueError as error:
            raise MediaError(str(error)) from error


def _media_in(folder: str, left_out: Counter[str]) -> Iterator[Path]:
    """The files of a folder that are worth trying; what is passed over is counted, hidden not."""
    inside = os.path.realpath(folder)

    def unreadable(error: OSError) -> None:
        left_out["unreadable folder"] += 1

    for root, folders, names in os.walk(folder, onerror=unreadable):
        left_out["linked folder"] += sum(os.path.islink(os.path.join(root, f)) for f in folders)
        for name in names:
            path = Path(root, name)
            if name.startswith("."):
                continue
            reason = _reason_to_skip(path, inside)
            if reason is None:
                yield path
            else:
                left_out[reason] += 1
    left_out += Counter()  # without what was counted as zero


def _reason_to_skip(path: Path, inside: str) -> str | None:
    """What a file of a folder is counted as where it is no image or video of that folder."""
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return suffix if suffix.isascii() and suffix[1:].isalnum() else "other"
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
        return "link out of the folder"
    if not path.is_file():
        return "broken link or special file"
    if suffix == ".ts" and not _is_transport_stream(path):
        return suffix  # a program in TypeScript
    return None


def _is_transport_stream(path: Path) -> bool:
    """Whether a file begins as MPEG transport streams do, from within a packet or not."""
    try:
        with path.open("rb") as file:
            head = file.read(5 * _TS_PACKET)
    except OSError:
        return True  # reading it says why it cannot be read
    starts = (head[place::_TS_PACKET] for place in range(_TS_PACKET))
    return any(len(column) >= 4 and set(column) == set(b"G") for column in starts)


def _read(source: Source, max_pixels: int) -> tuple[Image.Image, float]:
    """An image and its scale, from whatever it is given as."""
    source = plain_source(source, MAX_IMAGE_BYTES)
    if isinstance(source, np.ndarray):
        source = _image_from_array(source)
    if isinstance(source, Image.Image):
        with _Explained("the image"):
            return _decode(source.copy(), "the image", max_pixels)
    if isinstance(source, bytes):
        return _read_stream(io.BytesIO(source), "the given bytes", max_pixels)
    path = check_file(source, MAX_IMAGE_BYTES)
    with path.open("rb") as stream:
        return _read_stream(stream, str(path), max_pixels)


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


class _Explained:
    """Turns whatever Pillow raises for one input into a `MediaError`: it promises no list."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, EmoLlamaError):
            return
        if isinstance(error, UnidentifiedImageError):
            known = ", ".join(IMAGE_FORMATS)
            message = f"not an image that can be read (expected {known}, found other content)."
        elif isinstance(error, Image.DecompressionBombError):
            message = f"{error}. Save it smaller."
        else:
            reason = str(error) or type(error).__name__
            message = f"this image is broken or cut off ({reason}). Copy or save it again."
        raise MediaError(f"{self.name}: {message}") from error


def _read_stream(stream: IO[bytes], name: str, max_pixels: int) -> tuple[Image.Image, float]:
    """Decode an image file; where that fails, once more without its metadata."""
    with _Explained(name):
        try:
            return _decode(_open_image(stream), name, max_pixels)
        except MediaError:
            raise
        except (SyntaxError, ValueError, OSError, EOFError, struct.error, zlib.error):
            stream.seek(0)
            bare = without_metadata(stream.read())
            if bare is None:
                raise
            return _decode(_open_image(io.BytesIO(bare)), name, max_pixels)


def _open_image(stream: IO[bytes]) -> Image.Image:
    """Open an image by its first bytes, before any pixel is decoded."""
    formats = list(IMAGE_FORMATS)
    head = stream.read(12)
    stream.seek(0)
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        require("pillow_heif", extra="heic").register_heif_opener()
        formats = ["HEIF"]
    with warnings.catch_warnings():
        # The caps are ours and always errors; of metadata that Pillow doubts nothing is used.
        warnings.simplefilter("ignore")
        return Image.open(stream, formats=formats)


def _decode(image: Image.Image, name: str, max_pixels: int) -> tuple[Image.Image, float]:
    """Check the size, decode the pixels, turn and convert them, and drop the metadata."""
    from emo_llama.modeling.media_emo_llama import to_rgb, upright

    width, height = image.size
    if width == 0 or height == 0:
        raise MediaError(f"{name}: the image has no pixels ({width} x {height}).")
    if width * height > max_pixels:
        limit = f"more than the {max_pixels / 1e6:.0f} million that are read"
        raise MediaError(f"{name}: {width} x {height} pixels, {limit}. Save it smaller.")
    if max(width, height) > min(MAX_IMAGE_SIDE, MAX_ASPECT * min(width, height)):
        raise MediaError(
            f"{name}: {width} x {height} pixels; pictures are read up to {MAX_IMAGE_SIDE} pixels a "
            f"side, the longer at most {MAX_ASPECT} times the shorter. Cut it."
        )
    half = (-(-width // 2), -(-height // 2))
    too_large = width * height > MAX_IMAGE_PIXELS
    if too_large:
        image.draft(image.mode, half)  # JPEG only: decodes fewer pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
        if too_large and image.size == (width, height):
            image = image.resize(half, Image.Resampling.BOX)
        image = to_rgb(upright(image))
    image.info.clear()
    return image, 2.0 if too_large else 1.0
