"""Crops pictures to the largest face in them, in the framing that this project's models use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from emo_llama.faces import FaceDetector, load_detector

__all__ = ["FaceCropper"]


@dataclass(frozen=True, slots=True)
class FaceCropper:
    """Gives the largest face of each frame; a frame without one borrows the place of the nearest.

    It can be handed to worker processes: each loads a detector of its own.

    Args:
        detector (`str`, *optional*, defaults to `"auto"`):
            As in [`~emo_llama.faces.load_detector`], without `"none"`.

    Example:

    ```python
    >>> from PIL import Image
    >>> from emo_llama.cropping import FaceCropper

    >>> FaceCropper("cascade")([Image.new("RGB", (64, 64))]) is None
    True
    ```
    """

    detector: str = "auto"

    def __call__(self, images: Sequence[Image.Image]) -> list[Image.Image] | None:
        """Crop the frames of one picture or clip.

        Args:
            images (`Sequence[PIL.Image.Image]`):
                Frames of one size, RGB.

        Returns:
            `list[PIL.Image.Image]` or `None`: As many crops; `None` where no frame shows a face.
        """
        detector = _loaded(self.detector)
        found = [detector.detect(image) for image in images]
        seen = [place for place, faces in enumerate(found) if faces]
        if not seen:
            return None
        crops = []
        for place, image in enumerate(images):
            nearest = min(seen, key=lambda other: abs(other - place))
            left, top, right, bottom = found[nearest][0].crop
            crops.append(image.crop((round(left), round(top), round(right), round(bottom))))
        return crops


@lru_cache(maxsize=1)
def _loaded(name: str) -> FaceDetector:
    """The detector of this process: loading one takes about a second."""
    detector = load_detector(name)
    assert detector is not None
    return detector
