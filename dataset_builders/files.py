"""Files that a table names: where they lie, and whether they hold what they should."""

import io
import struct
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from emo_llama.errors import MediaError
from emo_llama.media import MAX_IMAGE_BYTES, check_file, read_image

__all__ = ["inside", "plain_picture", "read_picture"]

STORED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
STORED_MODES = ("L", "RGB")
BROKEN = (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, struct.error)
"""What Pillow raises on pictures and metadata that are not sound."""


def inside(root: Path, file: str) -> Path:
    """The path of a file that a table names, which must lie below the root.

    Args:
        root (`Path`): Folder of the official files.
        file (`str`): The name, relative, with `/`.

    Returns:
        `Path`: Where it lies.

    Raises:
        MediaError: The name leads out of the root, or is none that a file can have.
    """
    name = PurePosixPath(file)
    if "\0" in file or any(len(part.encode()) > 255 for part in name.parts):
        raise MediaError(f"{file[:80]!r}: no file can have this name; correct the table.")
    if name.is_absolute() or ".." in name.parts:  # links are the user's own, and may lead out
        raise MediaError(f"{file}: leads out of the data set's folder; correct the table.")
    return root / name


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file that is known to decode.

    Args:
        path (`Path`): The file.

    Returns:
        `bytes`: As stored.

    Raises:
        InputNotFoundError: There is no such file.
        MediaError: It is not a picture, is broken, or is too large.
    """
    data = check_file(path, MAX_IMAGE_BYTES).read_bytes()
    try:
        read_image(data)
    except MediaError as error:
        raise MediaError(str(error).replace("the given bytes", str(path))) from error
    return data


def plain_picture(data: bytes) -> bytes:
    """A picture in a form that every reader of a built folder shows as this project reads it.

    Args:
        data (`bytes`): As stored; known to be readable by [`~emo_llama.media.read_image`].

    Returns:
        `bytes`: The same where it is grey or RGB and its metadata are sound; else a PNG of what
        is seen: transparency on white, 16 bits scaled, an orientation that cannot be read left out.
    """
    try:
        with Image.open(io.BytesIO(data), formats=STORED_FORMATS) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # as `datasets` does when it reads a row
            if image.mode in STORED_MODES and "transparency" not in image.info:
                return data
    except BROKEN:
        pass
    buffer = io.BytesIO()
    read_image(data).save(buffer, "PNG")
    return buffer.getvalue()
