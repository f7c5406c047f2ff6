"""From whole pictures to the faces in them, where a build is asked for faces.

Who finds a face is the caller's choice: builders know only that somebody does.
"""

import io
from collections.abc import Callable, Sequence

from PIL import Image

from emo_llama.errors import MediaError
from emo_llama.media import read_image

__all__ = ["Cropper", "NoFaceError", "crop_faces"]

Cropper = Callable[[Sequence[Image.Image]], list[Image.Image] | None]
"""Takes the frames of one item, RGB, and gives the face of each; `None` where there is no face."""

QUALITY = 95
"""Of the JPEG encoding of crops."""


class NoFaceError(MediaError):
    """No face was found in a picture or clip."""


def crop_faces(images: Sequence[bytes], cropper: Cropper) -> tuple[bytes, ...]:
    """The faces of the frames of one item.

    Args:
        images (`Sequence[bytes]`):
            Encoded pictures: one for a still, the sampled frames for a clip.
        cropper (`Cropper`):
            Finds the faces.

    Returns:
        `tuple[bytes, ...]`: As many, JPEG.

    Raises:
        NoFaceError: There is none.
    """
    faces = cropper([read_image(image) for image in images])
    if faces is None:
        raise NoFaceError("no face was found; to keep such pictures whole, build with --faces auto")
    return tuple(_encoded(face) for face in faces)


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
